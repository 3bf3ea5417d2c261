"""Search spaces of alphas: each point of a cube [0,1]^k stands for a list of n alphas.

`full` is the paper's space (Serez et al., WACV 2025, arXiv:2412.03453), with one coordinate for each latent. The
others are curves that rise from coarse to fine, with two or three coordinates for any number of latents. Alphas are
rounded, so that a list is short when written down, and the list that is written down is exactly the evaluated one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from purebench.core.errors import PurebenchError, did_you_mean

DIGITS = 4
"""Decimal places of an alpha."""
POWERS = (0.125, 8.0)
"""Smallest and largest exponent of `power`; its coordinate is linear in the logarithm of the exponent."""
STEEPEST = 40.0
"""Largest steepness of `sigmoid`; its coordinate is the steepness as a share of it."""

Point = tuple[float, ...]


@dataclass(frozen=True)
class AlphaSpace:
    """Family of lists of alphas.

    Attributes:
        axes: names of the coordinates, as a function of n.
        alphas: (point, n) → n numbers in [0,1].
        seeds: named points that a search evaluates first, as a function of n.
    """

    axes: Callable[[int], list[str]]
    alphas: Callable[[Point, int], list[float]]
    seeds: Callable[[int], Mapping[str, Point]]

    def at(self, point: Point, n: int) -> list[float]:
        """Return the n alphas of a point of the cube, coarse to fine, rounded."""
        return rounded(self.alphas(point, n))


def rounded(alphas: Sequence[float]) -> list[float]:
    """Return alphas rounded to DIGITS decimal places, clipped to [0,1]."""
    return [min(max(round(float(alpha), DIGITS), 0.0), 1.0) for alpha in alphas]


def linear(n: int) -> list[float]:
    """Return a_i = i/n for i = 1..n."""
    return [i / n for i in range(1, n + 1)]


def cosine(n: int) -> list[float]:
    """Return a_i = (1 - cos(pi·i/n)) / 2 for i = 1..n."""
    return [(1 - math.cos(math.pi * i / n)) / 2 for i in range(1, n + 1)]


def paper_seeds(n: int) -> dict[str, Point]:
    """Return the five lists that start the paper's search: cosine, linear, all 0.5, and 1 minus the first two."""
    return {
        "cosine": tuple(cosine(n)),
        "linear": tuple(linear(n)),
        "half": (0.5,) * n,
        "1-linear": tuple(1 - alpha for alpha in linear(n)),
        "1-cosine": tuple(1 - alpha for alpha in cosine(n)),
    }


def power(point: Point, n: int) -> list[float]:
    """Return a_i = height·(i/n)^p for i = 1..n.

    Args:
        point: (height, position of log p between the logarithms of POWERS, in [0,1]).
        n: number of latents.
    """
    height, place = point
    low, high = (math.log(end) for end in POWERS)
    return [height * share ** math.exp(low + place * (high - low)) for share in linear(n)]


def sigmoid(point: Point, n: int) -> list[float]:
    """Return a_i = height / (1 + exp(-steepness·((i - 0.5)/n - middle))) for i = 1..n.

    Args:
        point: (height, middle, steepness as a share of STEEPEST).
        n: number of latents.
    """
    height, middle, share = point
    return [height / (1 + math.exp(-share * STEEPEST * ((i - 0.5) / n - middle))) for i in range(1, n + 1)]


SPACES: dict[str, AlphaSpace] = {
    "full": AlphaSpace(
        lambda n: [f"alpha_{i:02d}" for i in range(1, n + 1)], lambda point, n: list(point), paper_seeds
    ),
    "power": AlphaSpace(
        lambda n: ["height", "power"],
        power,
        lambda n: {"linear": (1.0, 0.5), "square": (1.0, 2 / 3), "cube root": (1.0, 0.5 - math.log(3, 64))},
    ),
    "sigmoid": AlphaSpace(
        lambda n: ["height", "middle", "steepness"],
        sigmoid,
        lambda n: {"like cosine": (1.0, 0.5, 0.15), "step": (1.0, 0.5, 1.0), "half": (1.0, 0.5, 0.0)},
    ),
}
"""The spaces by name."""


def find_space(name: str) -> AlphaSpace:
    """Return the space of this name.

    Raises:
        PurebenchError: If the name is unknown; the message contains the most similar name.
    """
    if name not in SPACES:
        raise PurebenchError(f"--space: {name!r} is unknown; {did_you_mean(name, SPACES)}")
    return SPACES[name]
