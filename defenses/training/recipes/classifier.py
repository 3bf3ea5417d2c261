"""Recipe of the undefended classifier: a small ResNet trained by cross-entropy with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.classifiers.resnet import ResNet
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy with label smoothing 0.03."""
    logits = model(images)
    right = (logits.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(logits, labels, label_smoothing=0.03), "accuracy": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy on the 10,000 test images."""
    return {f"clean accuracy, {len(test):,} test images": accuracy(model, test, device)}


recipe = Recipe(
    name="fashion-resnet",
    kind="resnet",
    build=ResNet,
    architecture={"channels": 1, "classes": 10, "width": 32, "depth": 1, "stride": 2},
    loss=loss,
    quality=quality,
    about="The undefended classifier of the built-in boards.",
    source="He et al. 2016, arXiv:1512.03385; trained for purebench",
    data=fashion_mnist,
    batch=64,
    rate=3e-3,
    decay=5e-3,
    shift=1,
    minutes=20,
)
