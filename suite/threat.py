"""The threat model: how far the attacker may move an image, and what it knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from purebench.errors import PurebenchError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

NORM_NAMES = ("linf", "l2", "l1")


class Knowledge(StrEnum):
    """What an attack uses: gradients of the defense, its scores, its decisions, or nothing of it."""

    WHITE_BOX = "white-box"
    SCORE = "score"
    DECISION = "decision"
    NONE = "none"


@dataclass(frozen=True)
class ThreatModel:
    """x' with |x' - x| ≤ radius in `norm` and x' in [0,1]. radius: in the units of images in [0,1], above 0."""

    norm: str
    radius: float

    def __post_init__(self) -> None:
        if self.norm not in NORM_NAMES:
            raise PurebenchError(f"norm: {self.norm!r} is unknown; {nearest(self.norm, NORM_NAMES)}")
        if not 0 < self.radius < float("inf"):
            raise PurebenchError(f"radius: expected a number above 0, such as 8/255, but got {self.radius!r}.")

    def size(self, delta: Tensor) -> Tensor:
        """Norm of each perturbation [N,…], [N]."""
        from purebench.norms import NORMS

        return NORMS[self.norm].size(delta)

    def project(self, adversarial: Tensor, x: Tensor) -> Tensor:
        """`adversarial` brought back into the ball around x and into [0,1]; what is inside stays as it is."""
        return self.around(x)(adversarial)

    def around(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """`project` for many points around the same x: what depends on x alone is computed once."""
        from purebench.norms import NORMS

        return NORMS[self.norm].around(x, self.radius)


def parse_radius(text: str | float) -> float:
    """`8/255`, `0.03` or a number as a radius above 0. Raises PurebenchError for anything else."""
    try:
        radius = float(Fraction(text.replace(" ", ""))) if isinstance(text, str) else float(text)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError) as error:
        raise PurebenchError(f"radius: expected a number or a fraction such as 8/255, but got {text!r}.") from error
    if not 0 < radius < float("inf"):
        raise PurebenchError(f"radius: expected a number above 0, such as 8/255, but got {text!r}.")
    return radius
