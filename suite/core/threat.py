"""Threat models: the perturbations that an attacker may apply, and the attacker's knowledge."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING

from purebench.core.errors import PurebenchError, did_you_mean, shown
from purebench.core.norms.norm_facts import NORM_FACTS, NORM_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

SMALLEST, LARGEST = 1e-12, 1e9
"""Radii outside of this range are mistakes: float32 images do not resolve the smallest, and no two images are as far
apart as the largest."""
ROUNDING = 1e-3
"""Share of the radius by which an adversarial example may exceed it through rounding."""
NUMBER = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
"""A decimal number of bounded length, so that parsing it takes bounded time and memory."""


class Knowledge(StrEnum):
    """The knowledge of the defense that an attack uses.

    Attributes:
        WHITE_BOX: gradients of the defense.
        SCORE: its scores.
        DECISION: its decisions.
        NONE: nothing of the defense.
    """

    WHITE_BOX = "white-box"
    SCORE = "score"
    DECISION = "decision"
    NONE = "none"


@dataclass(frozen=True)
class ThreatModel:
    """All images x' with |x' - x| ≤ radius in `norm` and x' in [0,1].

    Attributes:
        norm: a name in NORM_NAMES.
        radius: the largest norm of a perturbation, above 0, in the units of images in [0,1].
    """

    norm: str
    radius: float

    def __post_init__(self) -> None:
        if not isinstance(self.norm, str):
            names = {"inf": "linf", "2": "l2", "2.0": "l2", "1": "l1", "1.0": "l1"}
            near = names.get(str(self.norm))
            raise PurebenchError(
                f"norm: expected the name of a norm ({', '.join(NORM_NAMES)}), but got {shown(self.norm)}"
                + (f"; did you mean {near!r}?" if near else ".")
            )
        if self.norm not in NORM_NAMES:
            raise PurebenchError(f"norm: {self.norm!r} is unknown; {did_you_mean(self.norm, NORM_NAMES)}")
        _in_range(self.radius, self.radius)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise an error for a radius within which any image can become any other image.

        Args:
            shape: the shape [C,H,W] of one image.

        Raises:
            PurebenchError: the radius exceeds `largest_radius`.
        """
        most = largest_radius(self.norm, shape)
        if self.radius > most:
            raise PurebenchError(
                f"radius: expected at most {most:g} for {self.norm} and images of {list(shape)} in [0,1], but got "
                f"{self.radius:g}, at which any image can become any other; {_over_255(self.radius)}"
            )

    def size(self, delta: Tensor) -> Tensor:
        """Return the norm of each perturbation [N,…] as [N]."""
        from purebench.core.norms.norms import NORMS

        return NORMS[self.norm].size(delta)

    def project(self, adversarial: Tensor, x: Tensor) -> Tensor:
        """Project images into the ball around x and into [0,1]; images inside are unchanged.

        Args:
            adversarial: images [N,C,H,W].
            x: the clean images [N,C,H,W] in [0,1].
        """
        return self.around(x)(adversarial)

    def around(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `project` for many points around the same x; what depends on x alone is computed once."""
        from purebench.core.norms.norms import NORMS

        return NORMS[self.norm].around(x, self.radius)


def largest_radius(norm: str, shape: Sequence[int]) -> float:
    """Return the largest distance between two images in [0,1].

    Args:
        norm: a name in NORM_NAMES.
        shape: the shape [C,H,W] of one image.
    """
    return NORM_FACTS[norm].largest(math.prod(shape))


def parse_radius(text: str | float) -> float:
    """Parse a radius.

    Args:
        text: a number, a number as text (`0.03`, `1e-2`), or a fraction of two numbers (`8/255`, `0.5/255`).

    Returns:
        The radius, correctly rounded.

    Raises:
        PurebenchError: the text is neither a number nor a fraction, or the value is below 1e-12 or above 1e9.
    """
    if isinstance(text, str):
        return _in_range(_fraction(text), text)
    return _in_range(text, text)


def _fraction(text: str) -> float:
    """Return a number or a quotient of two numbers, correctly rounded; NaN for any other text."""
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(NUMBER.fullmatch(part) for part in parts):
        return math.nan
    try:
        number, *others = (Fraction(part) for part in parts)
        return float(number / others[0] if others else number)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _in_range(radius: object, given: object) -> float:
    """Return the radius as a float; raise PurebenchError if it is not a number, or out of range."""
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
    """Return the hint for a radius that was probably meant for images in [0,255]."""
    return f"{radius:g}/255 meant?" if radius <= 255 else "use a smaller one, such as 8/255."
