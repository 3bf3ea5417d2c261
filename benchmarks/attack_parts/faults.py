"""Planted faults of the benchmark of `purebench break` that `masked` (docs/controls.md) does not have.

Each function is a factory of a defense around the classifier of `own_classifier`, whose predicted classes it keeps;
`wrong_surrogate` changes them a little.
"""

from __future__ import annotations

from dataclasses import replace

from own_classifier import own_classifier
from torch import Tensor, nn

from purebench.core.defense import Defense, Purifier
from purebench.core.registry import Spec, create
from purebench.defenses.controls.faults import FAULTS
from purebench.defenses.controls.masked import Faulty


class Hidden(nn.Module):
    """A model that is no submodule, so that an attacker finds no part of it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.hidden = [model]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.hidden[0](x)


class WrongSurrogate(Purifier):
    """Rounds to sixteen levels; declares no gradient, and a surrogate that inverts the image."""

    random = False
    differentiable = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded image."""
        return (15 * x).round() / 15

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the inverted image, whose gradient misleads."""
        return 1 - x


def noisy(*, fault: str, sigma: float = 0.1) -> Defense:
    """A fault of `masked` behind Gaussian noise.

    Args:
        fault: Its name.
        sigma: Standard deviation of the noise.
    """
    noise = create("defenses", Spec("gaussian-noise", {"sigma": sigma}))
    return Defense(Faulty(own_classifier(), noise, replace(FAULTS[fault], random=True)), random=True)


def hidden_labels() -> Defense:
    """The predicted class alone, from a classifier that is no part of the module."""
    return Defense(Hidden(Faulty(own_classifier(), None, FAULTS["one-hot"])))


def wrong_surrogate() -> Defense:
    """A purifier whose surrogate misleads BPDA."""
    return Defense(own_classifier(), WrongSurrogate())
