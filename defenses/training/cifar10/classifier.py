"""Recipe of the undefended classifier: a small ResNet trained by cross-entropy with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.image_set import ImageSet
from purebench.data.jpeg_copy.cifar10 import cifar10_jpeg
from purebench.defenses.classifiers.cifar10 import DeepStemResNet
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy

IMAGES = "training images of CIFAR-10 (Krizhevsky 2009, published without a licence) as JPEG files of quality 75"

COPY = "(JPEG 75)"
"""Marks figures on the model cards that are of the JPEG copy."""


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy with label smoothing 0.05."""
    logits = model(images).float()
    right = (logits.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(logits, labels, label_smoothing=0.05), "accuracy": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy on the 10,000 test images."""
    return {f"clean accuracy, {len(test):,} test images {COPY}": accuracy(model, test, device)}


recipe = Recipe(
    name="cifar10-resnet",
    kind="deep-stem-resnet",
    build=DeepStemResNet,
    architecture={"channels": 3, "classes": 10, "width": 56, "depth": 2},
    loss=loss,
    quality=quality,
    about="The undefended classifier of CIFAR-10.",
    source="He et al. 2016, arXiv:1512.03385, stem after He et al. 2019, arXiv:1812.01187; trained for purebench",
    data=cifar10_jpeg,
    trained_on=IMAGES,
    batch=128,
    rate=4e-3,
    decay=5e-2,
    crop=4,
    steps=12500,
    precision="bf16",
)
