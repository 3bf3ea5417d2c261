"""Images attacked through the bundled classifier, for the recipes that learn to clean them or to please it."""

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
"""Largest radius of an attack, and largest deviation of the noise, in the units of x; each batch has one of its own."""
STEPS = 3
Attack = Callable[[Tensor, Tensor, float], Tensor]
"""(images [N,C,H,W] in [0,1], labels [N], size as a share of the largest) → attacked images."""


@cache
def _loaded(device: torch.device) -> ResNet:
    return fashion_resnet().to(device)


def source_classifier(device: torch.device) -> ResNet:
    """The bundled undefended classifier, which nobody trains, in eval mode."""
    return _loaded(device).eval()


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit less the label's, as far as the image is not wrong by 5 yet, the sum (Carlini & Wagner)."""
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (others - right).clamp(max=5).sum()


def unchanged(x: Tensor, labels: Tensor, size: float) -> Tensor:
    """No attack: a clean image is to stay as it is."""
    return x


def noised(x: Tensor, labels: Tensor, size: float) -> Tensor:
    """Gaussian noise."""
    return (x + size * NOISE * torch.randn_like(x)).clamp(0, 1)


def climbed(x: Tensor, labels: Tensor, size: float, *, norm: str, largest: float, steps: int, cw: bool) -> Tensor:
    """Gradient ascent from a random start on the classifier's loss."""

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
"""Random start and one step (Tramèr et al. 2018), projected gradient descent (Madry et al. 2018), and the margin of
Carlini & Wagner (2017) climbed in l2."""


def attacked(x: Tensor, labels: Tensor) -> Tensor:
    """Images [N,C,H,W], the first share of them by the first of ATTACKS and so on, each at a size drawn for the share.

    N is at least the number of attacks.
    """
    parts = zip(x.tensor_split(len(ATTACKS)), labels.tensor_split(len(ATTACKS)), strict=True)
    sizes = (0.05 + 0.95 * torch.rand(len(ATTACKS))).tolist()
    return torch.cat([attack(*part, size) for attack, part, size in zip(ATTACKS.values(), parts, sizes, strict=True)])
