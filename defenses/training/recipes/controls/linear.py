"""Recipe of the linear classifier: cross-entropy at the exact worst logits of the linf ball.

A linear classifier attains the smallest margin over each class at a corner of the ball, so adversarial training needs
no attack (Goodfellow et al. 2015, arXiv:1412.6572, section 5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.controls.linear_noise import LinearClassifier
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy

RADIUS = 16 / 255


def worst_logits(model: nn.Module, labels: Tensor, logits: Tensor) -> Tensor:
    """Return the largest logits minus the label's [N,K] within the radius, without the box [0,1].

    Args:
        model: a `LinearClassifier`.
        labels: labels [N].
        logits: its logits [N,K] at the images.
    """
    assert isinstance(model, LinearClassifier)
    weight = model.layer.weight
    apart = (weight[labels][:, None] - weight[None]).abs().sum(2)
    return logits - logits.gather(1, labels[:, None]) + RADIUS * apart


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the mean of the cross-entropies at the image and at the worst logits."""
    logits = model(images)
    worst = worst_logits(model, labels, logits)
    clean, bound = functional.cross_entropy(logits, labels), functional.cross_entropy(worst, labels)
    robust = (worst.argmax(1) == labels).float().mean()
    return {"loss": (clean + bound) / 2, "clean loss": clean, "robust": robust}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy, and the exact robust accuracy without the box."""
    x, y = torch.as_tensor(test.floats()).to(device), torch.as_tensor(test.labels).to(device)
    with torch.no_grad():
        robust = float((worst_logits(model, y, model(x)).argmax(1) == y).float().mean())
    return {
        f"clean accuracy, {len(test):,} test images": accuracy(model, test, device),
        f"robust accuracy at linf 16/255, {len(test):,} test images": robust,
    }


recipe = Recipe(
    name="fashion-linear",
    kind="linear",
    build=LinearClassifier,
    architecture={"values": 1024, "classes": 10},
    loss=loss,
    quality=quality,
    about="A linear classifier for a control of known worst case, trained adversarially, linf 16/255.",
    source="Goodfellow et al. 2015, arXiv:1412.6572; trained for purebench",
    data=fashion_mnist,
    batch=128,
    rate=3e-3,
    decay=0.0,
    minutes=3,
)
