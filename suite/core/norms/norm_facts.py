"""Facts about each norm that need no images: its order, its sign, its units. `norms` has the geometry.

The module imports no torch, so that boards are parsed and attacks are listed without it. A new norm is one `NormFacts`
in `NORM_FACTS`, and one `Norm` in `norms.NORMS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class NormFacts:
    """Facts about one norm on perturbations of d values in [-1,1].

    Attributes:
        order: p of the lp norm: infinity, 2 or 1.
        sign: its sign in texts.
        largest: d → the largest norm, that of the change from black to white.
        inside_l2: (radius, d) → the radius of the largest ball of this norm inside an l2 ball.
        sparse: whether the steepest-ascent direction changes a single value.
        unit: radii are shown in 1/unit: 255 where a radius is a change of one pixel value, else 1.
        ticks: possible distances between the ticks of a radius on an axis, in 1/unit.
    """

    order: float
    sign: str
    largest: Callable[[int], float]
    inside_l2: Callable[[float, int], float]
    sparse: bool
    unit: int
    ticks: tuple[float, ...]


NORM_FACTS: dict[str, NormFacts] = {
    "linf": NormFacts(
        order=math.inf,
        sign="ℓ∞",
        largest=lambda values: 1.0,
        inside_l2=lambda radius, values: radius / math.sqrt(values),
        sparse=False,
        unit=255,
        ticks=(0.5, 1, 2, 4, 8, 16, 32, 64),
    ),
    "l2": NormFacts(
        order=2,
        sign="ℓ2",
        largest=lambda values: math.sqrt(values),
        inside_l2=lambda radius, values: radius,
        sparse=False,
        unit=1,
        ticks=(0.1, 0.2, 0.5, 1, 2, 5, 10),
    ),
    "l1": NormFacts(
        order=1,
        sign="ℓ1",
        largest=lambda values: float(values),
        inside_l2=lambda radius, values: radius,
        sparse=True,
        unit=1,
        ticks=(1, 2, 5, 10, 20, 50, 100),
    ),
}
NORM_NAMES = tuple(NORM_FACTS)
DENSE = tuple(name for name, facts in NORM_FACTS.items() if not facts.sparse)
"""Norms whose steepest-ascent direction changes every value."""
