"""The threat model: how far the attacker may move an image, and what it knows."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING

from purebench.core.errors import PurebenchError, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

NORM_NAMES = ("linf", "l2", "l1")
SMALLEST, LARGEST = 1e-12, 1e9
"""Radii outside of these are mistakes: float32 images do not resolve the first, and no two images are so far apart."""
NUMBER = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
"""A decimal number of bounded length, so that reading it takes no time and no memory."""


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
        _in_range(self.radius, self.radius)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Refuses a radius within which any image becomes any other.

        Args:
            shape: of one image, [C,H,W].

        Raises:
            PurebenchError: The radius exceeds `largest_radius`.
        """
        most = largest_radius(self.norm, shape)
        if self.radius > most:
            raise PurebenchError(
                f"radius: expected at most {most:g} for {self.norm} and images of {list(shape)} in [0,1], but got "
                f"{self.radius:g}, under which any image may become any other; {_over_255(self.radius)}"
            )

    def size(self, delta: Tensor) -> Tensor:
        """Norm of each perturbation [N,…], [N]."""
        from purebench.core.norms import NORMS

        return NORMS[self.norm].size(delta)

    def project(self, adversarial: Tensor, x: Tensor) -> Tensor:
        """`adversarial` brought back into the ball around x and into [0,1]; what is inside stays as it is."""
        return self.around(x)(adversarial)

    def around(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """`project` for many points around the same x: what depends on x alone is computed once."""
        from purebench.core.norms import NORMS

        return NORMS[self.norm].around(x, self.radius)


def largest_radius(norm: str, shape: Sequence[int]) -> float:
    """Return the largest distance between two images in [0,1].

    Args:
        norm: a name in NORM_NAMES.
        shape: of one image, [C,H,W].
    """
    values = float(math.prod(shape))
    return {"linf": 1.0, "l2": math.sqrt(values), "l1": values}[norm]


def parse_radius(text: str | float) -> float:
    """Read a radius.

    Args:
        text: a number, or one as text (`0.03`, `1e-2`), or a fraction of two (`8/255`, `0.5/255`).

    Returns:
        The radius, correctly rounded.

    Raises:
        PurebenchError: It is neither, or it is below 1e-12 or above 1e9.
    """
    if isinstance(text, str):
        return _in_range(_fraction(text), text)
    return _in_range(text, text)


def _fraction(text: str) -> float:
    """A number or a quotient of two, correctly rounded; NaN for another text."""
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(NUMBER.fullmatch(part) for part in parts):
        return math.nan
    try:
        number, *others = (Fraction(part) for part in parts)
        return float(number / others[0] if others else number)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _in_range(radius: object, given: object) -> float:
    """The radius as a float. Raises PurebenchError for what is no number, or none that can be a radius."""
    number = math.nan
    if isinstance(radius, Real) and not isinstance(radius, bool):
        with suppress(OverflowError):
            number = float(radius)
    if not 0 < number < math.inf:
        raise PurebenchError(
            f"radius: expected a number above 0 or a fraction such as 8/255, but got {shown(given)}; "
            "radii are in units of images in [0,1]."
        )
    if not SMALLEST <= number <= LARGEST:
        raise PurebenchError(
            f"radius: expected a number above 0, between {SMALLEST:g} and {LARGEST:g}, but got {shown(given)}; "
            "radii are in units of images in [0,1]."
        )
    return number


def _over_255(radius: float) -> str:
    """The cure for a radius of images in [0,255]."""
    return f"{radius:g}/255 meant?" if radius <= 255 else "give a smaller one, such as 8/255."
