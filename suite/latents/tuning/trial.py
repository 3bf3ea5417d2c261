"""Defines one evaluation of a search for alphas."""

from __future__ import annotations

from dataclasses import dataclass, field

from purebench.defenses.mlvgm.alpha_spaces import Point


@dataclass(frozen=True)
class Trial:
    """One evaluation of the search.

    Attributes:
        number: Number of the trial, from 0.
        point: The point in the search space.
        alphas: Its alphas before attenuation, coarse to fine.
        value: The value measured.
        name: Name of a seed point, else empty.
        seconds: Duration.
    """

    number: int
    point: Point
    alphas: tuple[float, ...]
    value: float
    name: str = ""
    seconds: float = field(default=0.0, compare=False)
