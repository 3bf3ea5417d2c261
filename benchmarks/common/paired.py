"""The difference of two attacks on the same images, with a bootstrap interval over the images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """The difference first - second in percentage points, its interval, and the seed of the bootstrap."""

    points: float
    low: float
    high: float
    confidence: float
    images: int
    seed: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def difference(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0, confidence: float = 0.95) -> Difference:
    """Return the mean of first - second over images with a percentile bootstrap interval (Efron 1979) over images.

    first, second: [N], each image's share of right answers, in [0,1]. Raises ValueError for other shapes.
    """
    each = 100 * (np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))
    if each.ndim != 1 or not each.size:
        raise ValueError(f"expected two arrays [N] with N ≥ 1, but got a difference of shape {list(each.shape)}")
    drawn = np.random.default_rng(seed).integers(each.size, size=(RESAMPLES, each.size))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(each[drawn].mean(1), [tail, 100 - tail])
    return Difference(float(each.mean()), float(low), float(high), confidence, int(each.size), seed)
