"""What the runner asks of a view and of an attack; both are created by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from purebench.batching import DeviceBatch
from purebench.errors import Inapplicable as Inapplicable
from purebench.threat import Knowledge, ThreatModel
from purebench.warning_codes import ResultWarning


class View(Protocol):
    """What an attacker sees of a defense; counts what it costs.

    precision: the attack's arithmetic, `float32` or `bf16`; verification is always in float32.
    """

    batch: DeviceBatch
    forwards: int
    backwards: int
    precision: str

    @property
    def notes(self) -> list[str]:
        """What a reader of the record must know."""

    @property
    def warnings(self) -> list[ResultWarning]:
        """Why the accuracy under the attack may be too high."""


@dataclass(frozen=True)
class Answer:
    """What an attack says beyond the images.

    images: x' [N,C,H,W]. nearest: True if these are the nearest adversarial images found (a minimum-norm attack), which
    may lie beyond the threat's radius; where none was found, x' is the image itself. claims: the attack's own verdict,
    bool [N], True where it thinks the defense is broken at x', wherever that is; None if it has none. certified: of a
    certificate, the radius in the threat's norm within which the answer is proven right, one an image, None where it is
    wrong or nothing was proven; None for an attack. passes: images passed besides those that the view counted.
    """

    images: Tensor
    nearest: bool = False
    claims: Tensor | None = None
    certified: Sequence[float | None] | None = None
    passes: int = 0


class Attack(Protocol):
    """(view, x, y, threat) → x': images near x [N,C,H,W] in [0,1] that the defense should get wrong.

    x' has the shape of x and obeys the threat up to rounding (unless it is an `Answer` with `nearest`); the runner
    checks.
    """

    @property
    def knowledge(self) -> Knowledge:
        """What the attack uses of the defense."""

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, /) -> Tensor | Answer:
        """Adversarial images. Raises Inapplicable where the attack has nothing to attack in this defense."""


class DefenseFault(Exception):
    """The defense gave an answer that is none: another shape, or values that are not finite."""


def check_logits(logits: Tensor, images: int) -> Tensor:
    """The logits, if they are a tensor [images,K] of finite floating-point numbers; else raises DefenseFault."""
    import math

    import torch

    if not isinstance(logits, torch.Tensor):
        raise DefenseFault(f"expected logits as a tensor [{images},K], but got {type(logits).__name__}")
    if logits.ndim != 2 or len(logits) != images or logits.shape[1] < 2:
        raise DefenseFault(f"expected logits of shape [{images},K] of K ≥ 2 classes, but got {list(logits.shape)}")
    if not logits.is_floating_point():
        raise DefenseFault(f"expected floating-point logits, but got {logits.dtype}")
    # the sum is finite only if every value is, and quicker to ask
    if not math.isfinite(float(logits.detach().sum())) and not bool(torch.isfinite(logits).all()):
        raise DefenseFault("expected finite logits, but got NaN or infinity")
    return logits
