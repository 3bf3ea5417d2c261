"""What the runner asks of a view and of an attack; both are created by name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from purebench.batching import DeviceBatch
from purebench.threat import Knowledge, ThreatModel


class View(Protocol):
    """What an attacker sees of a defense; counts what it costs."""

    batch: DeviceBatch
    forwards: int
    backwards: int
    notes: list[str]


class Attack(Protocol):
    """(view, x, y, threat) → x': images near x [N,C,H,W] in [0,1] that the defense should get wrong.

    x' has the shape of x and obeys the threat up to rounding; the runner checks.
    """

    @property
    def knowledge(self) -> Knowledge:
        """What the attack uses of the defense."""

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, /) -> Tensor:
        """Adversarial images."""


class DefenseFault(Exception):
    """The defense gave an answer that is none: another shape, or values that are not finite."""


def check_logits(logits: Tensor, images: int) -> Tensor:
    """The logits, if they are finite and [images,K]; else raises DefenseFault."""
    import torch

    if logits.ndim != 2 or len(logits) != images:
        raise DefenseFault(f"expected logits of shape [{images},K], but got {list(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        raise DefenseFault("expected finite logits, but got NaN or infinity")
    return logits
