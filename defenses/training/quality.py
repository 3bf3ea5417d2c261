"""Quality figures of the model cards: accuracy with and without a purifier, and the error of the purified images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from purebench.core.defense import Defense, Purifier
from purebench.data.datasets import ImageSet
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.mlvgm.model import MLVGM

BATCH = 250
RECONSTRUCTION = "reconstruction (alpha 0)"


@torch.no_grad()
def accuracy(predict: Callable[[Tensor], Tensor], data: ImageSet, device: torch.device, batch: int = BATCH) -> float:
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
    purifiers: Mapping[str, Purifier],
    test: ImageSet,
    device: torch.device,
    images: int = 2000,
    classifier: Callable[[], nn.Module] = fashion_resnet,
) -> dict[str, float]:
    """Return the clean accuracy of a bundled classifier behind each purifier, with one draw for each image.

    Args:
        purifiers: the purifiers by name.
        test: the test images.
        device: device of the evaluation.
        images: number of images, the first ones of `test`.
        classifier: loads the classifier.

    Returns:
        Accuracies by description, starting with that without a purifier.
    """
    model = classifier().to(device)
    some = test.take(range(min(images, len(test))))
    figures = {"no purifier": accuracy(model, some, device)}
    for name, purifier in purifiers.items():
        torch.manual_seed(0)
        figures[name] = accuracy(Defense(model, purifier.to(device)), some, device)
    return {f"clean accuracy, {name}, {len(some):,} test images": value for name, value in figures.items()}


@torch.no_grad()
def purified_psnr(
    purifiers: Mapping[str, Purifier], test: ImageSet, device: torch.device, images: int = 1000
) -> dict[str, float]:
    """Return the peak signal-to-noise ratio of purified images, -10·log10 of the mean squared error, in dB.

    Args:
        purifiers: the purifiers by name.
        test: the test images.
        device: device of the evaluation.
        images: number of images, the first ones of `test`.

    Returns:
        Ratios by description, with one draw for each image.
    """
    some = test.take(range(min(images, len(test))))
    x = torch.as_tensor(some.floats()).to(device)
    figures = {}
    for name, purifier in purifiers.items():
        torch.manual_seed(0)
        parts = torch.split(x, BATCH)
        error = torch.cat([purifier.to(device)(part) - part for part in parts]).square().mean()
        figures[f"PSNR, {name}, {len(some):,} test images, dB"] = float(-10 * error.log10())
    return figures


def mlvgm_purifiers(model: MLVGM) -> dict[str, Purifier]:
    """Return the purifiers of an MLVGM whose accuracies its card states, by name."""
    from purebench.defenses.mlvgm.purifier import MLVGMPurifier

    found: dict[str, Purifier] = {RECONSTRUCTION: MLVGMPurifier(model, schedule="constant", attenuation=0.0)}
    for schedule in ("linear", "cosine"):
        for attenuation in (0.5, 0.7, 1.0):
            found[f"{schedule} × {attenuation:g}"] = MLVGMPurifier(model, schedule=schedule, attenuation=attenuation)
    return found
