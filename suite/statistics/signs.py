"""Computes the null distribution of paired differences: their sums under random signs.

If two defenses are equal, the difference on an image is as likely d as -d. So the sum of the differences is
compared with the sums under random signs, one sign per image for all comparisons at once, which keeps the dependence
between comparisons. It is divided by sqrt(sum d²), which no sign changes: Fisher's randomisation test, self-normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 4_999

_AT_ONCE = 4_000_000  # signs that are drawn at a time; the generator's stream depends on it
_SUMMED_AT_ONCE = 500_000  # signs that are summed at a time, which fit into the cache of a processor core


def studentised(differences: Floats) -> Floats:
    """Compute the self-normalised statistic |sum d| / sqrt(sum d²).

    Args:
        differences: [comparisons, images].

    Returns:
        [comparisons]; 0 where all differences are 0.
    """
    return np.asarray(np.abs(differences.sum(axis=1)) / _scale(differences), dtype=np.float64)


def sign_flipped(
    differences: Floats,
    resamples: int,
    seed: int,
    rows: tuple[Floats, Sequence[tuple[int, int]]] | None = None,
) -> Floats:
    """Compute the statistic of `studentised` under random signs of the images.

    Args:
        differences: [comparisons, images].
        resamples: Number of random sign vectors.
        seed: Decides the signs.
        rows: For differences of pairs of rows, the values [rows, images] and the pair of each comparison: the sums of
            the rows are computed, and then their differences. None to sum the differences themselves.

    Returns:
        [resamples, comparisons].
    """
    rng = np.random.default_rng(seed)
    moved = np.any(differences != 0, axis=0)
    values, pairs = (differences, None) if rows is None else (rows[0], np.array(rows[1], dtype=np.intp))
    kept = values[:, moved].T
    found = np.empty((resamples, differences.shape[0]))
    at_once, summed = (max(1, most // max(1, kept.shape[0])) for most in (_AT_ONCE, _SUMMED_AT_ONCE))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        bits = rng.integers(0, 2, (size, kept.shape[0]), dtype=np.int8)
        for first in range(0, size, summed):
            signs = np.multiply(bits[first : first + summed], 2.0)
            signs -= 1.0
            sums = signs @ kept
            place = slice(start + first, start + first + len(sums))
            found[place] = np.abs(sums if pairs is None else sums[:, pairs[:, 0]] - sums[:, pairs[:, 1]])
    return np.asarray(found / _scale(differences), dtype=np.float64)


def _scale(differences: Floats) -> Floats:
    scale = np.sqrt((differences**2).sum(axis=1))
    return np.where(scale > 0, scale, 1.0)
