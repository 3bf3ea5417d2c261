"""Forecasts on how many images the tests of convergence decide."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import count
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from purebench.statistics import exceeds_by_less

Floats = npt.NDArray[np.float64]

GROWTH, MOST = 1.1, 5000
"""Factor between the numbers of images that are tried, and the number from which none is tried any more."""


@cache
def least_images(margin: float, level: float) -> int:
    """Return the smallest number of images on which a difference of the margin can be excluded: if none differs.

    Args:
        margin: the margin of equivalence, in (0,1).
        level: the level of the test, in (0,0.5).
    """
    enough = next(2**n for n in count() if _excluded(2**n, margin, level))
    sizes = range(enough // 2, enough + 1)
    return sizes[bisect_left(sizes, True, key=lambda n: n > 0 and _excluded(n, margin, level))]


def _excluded(images: int, margin: float, level: float) -> bool:
    return exceeds_by_less(np.zeros(images), np.zeros(images), margin, level)


def images_to_exclude(pairs: Sequence[tuple[Floats, Floats]], margin: float, level: float) -> int:
    """Return about how many images exclude that the first of each pair exceeds the second by the margin.

    It is a forecast: the values on these images are repeated until the tests succeed. Twice as many images are forecast
    where the mean difference is at least the margin, because more images decide it either way.

    Args:
        pairs: shares of correct draws [images] in [0,1], paired by image.
        margin: the margin, in (0,1).
        level: the level of each test, in (0,0.5).
    """
    return max([least_images(margin, level), *(_to_exclude(a, b, margin, level) for a, b in pairs)])


def _to_exclude(a: Floats, b: Floats, margin: float, level: float) -> int:
    if (room := margin - float((a - b).mean())) <= 0:
        return 2 * len(a)
    quantile = float(ndtri(1 - level))
    images = max(1, ceil((quantile * float((a - b).std()) / room) ** 2))  # by the normal distribution
    while images < MOST and not exceeds_by_less(np.resize(a, images), np.resize(b, images), margin, level):
        images = ceil(GROWTH * images)
    return images


def images_to_show(a: Floats, b: Floats, level: float) -> int:
    """Return about how many images show that the first is above the second; twice as many if it is not on these.

    Args:
        a: shares of correct draws [images] in [0,1].
        b: the same of the second.
        level: the level of the two-sided test, in (0,1).
    """
    mean, spread = float((a - b).mean()), float((a - b).std())
    quantile = float(ndtri(1 - level / 2))
    return 2 * len(a) if mean <= 0 else ceil((quantile * spread / mean) ** 2)
