"""Random values of images and answers of defenses, for all parts."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 16

BETAS = {
    "beta(0.1, 4.9), mean 2 %": (0.1, 4.9),
    "beta(0.5, 0.5)": (0.5, 0.5),
    "beta(8, 2)": (8.0, 2.0),
    "beta(4.9, 0.1), mean 98 %": (4.9, 0.1),
}

LEAST = 0.945


def grace(share: float, repeats: int) -> float:
    """Return three standard errors of a simulated share."""
    return 3 * sqrt(share * (1 - share) / repeats)


def samples(kind: tuple[float, float] | float, n: int, repeats: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Return values of images: fractions of draws with a beta probability, or 0/1 with a fixed one."""
    for _ in range(repeats):
        if isinstance(kind, float):
            yield (rng.random(n) < kind).astype(float)
        else:
            yield rng.binomial(DRAWS, rng.beta(*kind, n)) / DRAWS


def board(accuracies: Floats, images: int, rng: np.random.Generator) -> Floats:
    """Return answers, 0 or 1, [defenses, images]; half of them depend on a difficulty of the image that all share."""
    shared = rng.random((accuracies.size, images)) < 0.5
    drawn = np.where(shared, rng.random(images), rng.random((accuracies.size, images)))
    return (drawn < accuracies[:, np.newaxis]).astype(float)
