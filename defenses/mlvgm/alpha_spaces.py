"""Where a search looks for alphas: a cube [0,1]^k, each point of which stands for a list of n alphas.

`full` is the paper's space (Serez et al., WACV 2025, arXiv:2412.03453), one coordinate a latent. The others are curves
that rise from coarse to fine, with two or three coordinates whatever the number of latents. Alphas are rounded, so that
a list that was found is short to write down and, written down, is the very list that was asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from purebench.core.errors import PurebenchError, nearest

DIGITS = 4
"""Decimal places of an alpha."""
POWERS = (0.125, 8.0)
"""The least and largest exponent of `power`; its coordinate is the logarithm's share between them."""
STEEPEST = 40.0
"""The largest steepness of `sigmoid`; its coordinate is the share of it."""

Point = tuple[float, ...]


@dataclass(frozen=True)
class Space:
    """A family of alpha lists. axes: names of the coordinates, given n. alphas: (point, n) → n numbers in [0,1].

    seeds: named points that a search asks first, given n.
    """

    axes: Callable[[int], list[str]]
    alphas: Callable[[Point, int], list[float]]
    seeds: Callable[[int], Mapping[str, Point]]

    def at(self, point: Point, n: int) -> list[float]:
        """The n alphas that a point of the cube stands for, coarse to fine, rounded."""
        return rounded(self.alphas(point, n))


def rounded(alphas: Sequence[float]) -> list[float]:
    """Alphas to DIGITS decimal places, in [0,1]."""
    return [min(max(round(float(alpha), DIGITS), 0.0), 1.0) for alpha in alphas]


def linear(n: int) -> list[float]:
    """a_i = i/n for i = 1..n."""
    return [i / n for i in range(1, n + 1)]


def cosine(n: int) -> list[float]:
    """a_i = (1 - cos(pi·i/n)) / 2."""
    return [(1 - math.cos(math.pi * i / n)) / 2 for i in range(1, n + 1)]


def paper_seeds(n: int) -> dict[str, Point]:
    """The five lists that the paper's search starts from: cosine, linear, all 0.5, and the first two turned over."""
    return {
        "cosine": tuple(cosine(n)),
        "linear": tuple(linear(n)),
        "half": (0.5,) * n,
        "1-linear": tuple(1 - alpha for alpha in linear(n)),
        "1-cosine": tuple(1 - alpha for alpha in cosine(n)),
    }


def power(point: Point, n: int) -> list[float]:
    """a_i = height·(i/n)^p: (height, place of log p between POWERS)."""
    height, place = point
    low, high = (math.log(end) for end in POWERS)
    return [height * share ** math.exp(low + place * (high - low)) for share in linear(n)]


def sigmoid(point: Point, n: int) -> list[float]:
    """a_i = height / (1 + exp(-steepness·((i - 0.5)/n - middle))): (height, middle, share of STEEPEST)."""
    height, middle, share = point
    return [height / (1 + math.exp(-share * STEEPEST * ((i - 0.5) / n - middle))) for i in range(1, n + 1)]


SPACES: dict[str, Space] = {
    "full": Space(lambda n: [f"alpha_{i:02d}" for i in range(1, n + 1)], lambda point, n: list(point), paper_seeds),
    "power": Space(
        lambda n: ["height", "power"],
        power,
        lambda n: {"linear": (1.0, 0.5), "square": (1.0, 2 / 3), "cube root": (1.0, 0.5 - math.log(3, 64))},
    ),
    "sigmoid": Space(
        lambda n: ["height", "middle", "steepness"],
        sigmoid,
        lambda n: {"like cosine": (1.0, 0.5, 0.15), "step": (1.0, 0.5, 1.0), "half": (1.0, 0.5, 0.0)},
    ),
}
"""The spaces by name."""


def find_space(name: str) -> Space:
    """The space of this name. Raises PurebenchError naming the nearest."""
    if name not in SPACES:
        raise PurebenchError(f"--space: {name!r} is unknown; {nearest(name, SPACES)}")
    return SPACES[name]
