"""Defines controls: defenses whose robust accuracy is known, image by image, from a proof, a formula or a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from purebench.core.threat import ThreatModel

KINDS = ("masked", "oracle", "random")
"""Kinds of controls: a planted fault that hides gradients, a proof, a random defense of known worst case."""


@dataclass(frozen=True)
class Truth:
    """Bounds of the probability of a right answer at the worst point of the threat model, for N images.

    Attributes:
        low: float64 [N] in [0,1], NaN for images on which the control is not scored.
        high: float64 [N] in [0,1]; NaN for images on which the control is not scored, and for all images of a control
            whose upper bound is measured on its reference.
    """

    low: Tensor
    high: Tensor


@runtime_checkable
class Control(Protocol):
    """A defense, or a module that is one, of known robust accuracy.

    Attributes:
        kind: one of `KINDS`.
        hides: in words, what is hidden from the attacker.
        reference: the spec of the defense whose measured accuracy under strong attacks is the upper bound; empty if
            `truth` returns the upper bound.
    """

    kind: str
    hides: str
    reference: str

    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return bounds of the robust accuracy of each image.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: the threat model.

        Raises:
            Inapplicable: nothing is known under this threat model.
        """
