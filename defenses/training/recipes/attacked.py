"""Adversarial examples against the bundled classifier, for the recipes of purifiers that use them or the classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from purebench.core.threat import ThreatModel
from purebench.defenses.classifiers.resnet import ResNet, fashion_resnet
from purebench.defenses.training.recipes.robust import ascend

LINF, L2, NOISE = 32 / 255, 3.0, 0.2
"""Largest radius of an attack, and largest standard deviation of the noise, in the units of x; drawn for each batch."""
STEPS = 3
Attack = Callable[[Tensor, Tensor, float], Tensor]
"""(images [N,C,H,W] in [0,1], labels [N], size as a share of the largest) → attacked images."""


@cache
def _loaded(device: torch.device) -> ResNet:
    return fashion_resnet().to(device)


def source_classifier(device: torch.device) -> ResNet:
    """Return the bundled undefended classifier, which is not trained, in eval mode."""
    return _loaded(device).eval()


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, at most 5, summed over the images (Carlini & Wagner).

    Args:
        logits: logits [N,K].
        labels: labels [N].
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (others - right).clamp(max=5).sum()


def unchanged(x: Tensor, labels: Tensor, size: float) -> Tensor:
    """Return clean images, which a purifier should not change."""
    return x


def noised(x: Tensor, labels: Tensor, size: float) -> Tensor:
    """Return images with Gaussian noise, clamped to [0,1]."""
    return (x + size * NOISE * torch.randn_like(x)).clamp(0, 1)


def climbed(x: Tensor, labels: Tensor, size: float, *, norm: str, largest: float, steps: int, cw: bool) -> Tensor:
    """Run gradient ascent on the classifier's loss from a random start.

    Args:
        x: images [N,C,H,W] in [0,1].
        labels: labels [N].
        size: radius as a share of `largest`.
        norm: norm of the perturbation.
        largest: largest radius in the units of x.
        steps: number of steps.
        cw: whether to use the margin of Carlini & Wagner instead of the cross-entropy.

    Returns:
        Adversarial examples [N,C,H,W] in [0,1].
    """

    def objective(logits: Tensor) -> Tensor:
        return margin(logits, labels) if cw else functional.cross_entropy(logits, labels, reduction="sum")

    threat = ThreatModel(norm, size * largest)
    classifier = source_classifier(x.device)
    return ascend(classifier, x, threat, objective, steps, step=1.0 if steps == 1 else 2.5 / steps).detach()


ATTACKS: dict[str, Attack] = {
    "none": unchanged,
    "noise": noised,
    "rand-fgsm": partial(climbed, norm="linf", largest=LINF, steps=1, cw=False),
    "pgd": partial(climbed, norm="linf", largest=LINF, steps=STEPS, cw=False),
    "cw-l2": partial(climbed, norm="l2", largest=L2, steps=STEPS, cw=True),
}
"""Random start and one step (Tramèr et al. 2018), projected gradient descent (Madry et al. 2018), and gradient ascent
on the margin of Carlini & Wagner (2017) in l2."""


def attacked(x: Tensor, labels: Tensor) -> Tensor:
    """Attack a batch with all of ATTACKS: the first part of the images by the first attack, and so on.

    Each part has its own random size.

    Args:
        x: images [N,C,H,W] in [0,1]; N is at least the number of attacks.
        labels: labels [N].

    Returns:
        Attacked images [N,C,H,W].
    """
    parts = zip(x.tensor_split(len(ATTACKS)), labels.tensor_split(len(ATTACKS)), strict=True)
    sizes = (0.05 + 0.95 * torch.rand(len(ATTACKS))).tolist()
    return torch.cat([attack(*part, size) for attack, part, size in zip(ATTACKS.values(), parts, sizes, strict=True)])
