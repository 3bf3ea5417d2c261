"""Defines `Estimate`, a number with its interval, its n and its method, which is reported instead of a bare float.

The module also holds the argument checks that all functions that make estimates share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point value with its confidence interval.

    Attributes:
        value: Point estimate, in the unit of the quantity (a fraction in [0,1] for an accuracy, a distance in the units
            of x for a median distance).
        low: Lower end of the interval, at most `value`, in the same unit.
        high: Upper end of the interval, at least `value`, in the same unit.
        confidence: Nominal coverage of [low, high], in (0,1).
        n: Number of images behind the estimate, >= 1 (the sampling unit is the image, not the draw).
        method: Name of the method that made the interval, such as "clopper-pearson".

    Raises:
        ValueError: If one of these conditions does not hold; NaN is never accepted.
    """

    value: float
    low: float
    high: float
    confidence: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"expected low <= value <= high, but got low={self.low!r}, value={self.value!r}, "
                f"high={self.high!r}; widen the interval to contain the value, and check the data for NaN"
            )
        require_confidence(self.confidence)
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or self.n < 1:
            raise ValueError(
                f"expected n to be a whole number of images, at least 1, but got {self.n!r}; "
                "an estimate over no image does not exist, so leave it out instead"
            )
        if not self.method:
            raise ValueError("expected the name of the method of the interval, but got ''; pass its name")

    @property
    def half_width(self) -> float:
        """Half of high - low, in the unit of the quantity: the precision reached."""
        return (self.high - self.low) / 2

    def percent(self) -> str:
        """Format a fraction in percent with its interval: "61.3 % [58.2, 64.4]"."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; `from_dict` gives the same estimate back."""
        plain = {name: float(number) for name, number in asdict(self).items() if name not in ("n", "method")}
        return {**plain, "n": int(self.n), "method": str(self.method)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Estimate:
        """Make the estimate that `to_dict` wrote.

        Args:
            data: The fields by name.

        Returns:
            The same estimate.

        Raises:
            ValueError: If a field is missing, unknown or invalid.
        """
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise ValueError(
                f"expected an estimate with the fields {sorted(names)}, but got {sorted(data)}; "
                "write it with Estimate.to_dict"
            )
        return cls(**data)


def require_confidence(confidence: float) -> None:
    """Check that a confidence is a fraction strictly between 0 and 1.

    Args:
        confidence: The value to check.

    Raises:
        ValueError: If it is outside (0,1).
    """
    if not 0 < confidence < 1:
        raise ValueError(
            f"expected confidence to be strictly between 0 and 1, but got {confidence!r}; "
            "95 % confidence is written 0.95"
        )


def require_unit_values(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check values in [0,1], one per image.

    Args:
        values: [n] in [0,1], n >= 1.

    Returns:
        The values as a float array [n].

    Raises:
        ValueError: For another shape, no values, and values that are NaN or outside [0,1].
    """
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1 or checked.size == 0:
        raise ValueError(
            f"expected values of shape [n] with n >= 1, one per image, but got shape {list(checked.shape)}; "
            "average over draws and attacks first, so that each image has one value"
        )
    outside = ~((checked >= 0) & (checked <= 1))
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(
            f"expected values in [0,1], but got {checked[first]} for image {first} "
            f"({int(outside.sum())} of {checked.size} values are outside); "
            "pass fractions, not percentages or NaN"
        )
    return checked


def require_outcomes(outcomes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check outcomes in [0,1] of several defenses on the same images.

    Args:
        outcomes: [defenses, images] in [0,1], at least 1 of each.

    Returns:
        The outcomes as a float array [defenses, images].

    Raises:
        ValueError: For another shape, and for values that are NaN or outside [0,1].
    """
    values = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"expected outcomes [defenses, images], each at least 1, but got shape {list(values.shape)}; use one "
            "row per defense and one column per image"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("expected outcomes in [0,1], but got other values; pass fractions, not percentages or NaN")
    return values
