"""Quality figures of the model cards: the classifier's accuracy with and without a purifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from purebench.core.defense import Defense, Purifier
from purebench.data.datasets import ImageSet
from purebench.defenses.classifiers.resnet import fashion_resnet


@torch.no_grad()
def accuracy(predict: Callable[[Tensor], Tensor], data: ImageSet, device: torch.device, batch: int = 250) -> float:
    """Return the share of images that are classified correctly, with one pass each.

    Args:
        predict: images [N,C,H,W] in [0,1] → logits [N,K].
        data: the images.
        device: device of the classifier.
        batch: images of a batch.
    """
    right = 0
    for start in range(0, len(data), batch):
        part = data.take(range(start, min(start + batch, len(data))))
        logits = predict(torch.as_tensor(part.floats()).to(device))
        right += int((logits.argmax(1).cpu() == torch.as_tensor(part.labels)).sum())
    return right / len(data)


def purified_accuracies(
    purifiers: Mapping[str, Purifier], test: ImageSet, device: torch.device, images: int = 2000
) -> dict[str, float]:
    """Return the clean accuracy of the bundled classifier behind each purifier, with one draw for each image.

    Args:
        purifiers: the purifiers by name.
        test: the test images.
        device: device of the evaluation.
        images: number of images, the first ones of `test`.

    Returns:
        Accuracies by description, starting with that without a purifier.
    """
    classifier = fashion_resnet().to(device)
    some = test.take(range(min(images, len(test))))
    figures = {"no purifier": accuracy(classifier, some, device)}
    for name, purifier in purifiers.items():
        torch.manual_seed(0)
        figures[name] = accuracy(Defense(classifier, purifier.to(device)), some, device)
    return {f"clean accuracy, {name}, {len(some):,} test images": value for name, value in figures.items()}
