"""Picks the worst attack of each image on some draws and scores it on others.

The smallest of several noisy fractions lies below the smallest probability (the winner's curse), so the attack that is
picked on one half of the draws is scored on the other half, and the halves are then swapped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Score = Callable[[npt.NDArray[np.int64], int], Floats]
"""A function of right draws [attacks, images] and the number of draws that returns a score in [0,1], such as their
share or a power of it.
"""


def split_score(right: Bools, counts: Bools, score: Score, *, in_order: bool = False) -> Floats:
    """Compute the score of the picked attack on the draws that did not pick it, averaged over both ways round.

    Args:
        right: bool [attacks, images, draws]. A single draw both picks and is scored; with an odd number one half has
            one more.
        counts: bool [attacks, images], False where the attack is left out; at least one counts on every image.
        score: Score of right draws.
        in_order: Whether ties on an image are broken by the images before it instead of all images, so that its score
            never changes when images are added, as a confidence sequence needs.

    Returns:
        [images] in [0,1].
    """
    draws = right.shape[2]
    half = draws // 2
    if half == 0:
        return _scored(right_draws(right), right_draws(right), (1, 1), counts, score, in_order)
    first, second = right_draws(right[:, :, :half]), right_draws(right[:, :, half:])
    rest = draws - half
    one = _scored(first, second, (half, rest), counts, score, in_order)
    return (one + _scored(second, first, (rest, half), counts, score, in_order)) / 2


def right_draws(right: Bools) -> npt.NDArray[np.int64]:
    """Count right draws, bool [attacks, images, draws] -> [attacks, images].

    A product of matrices is several times faster than a count along the short last axis, and exact below 2^24 draws.
    """
    ones = np.ones(right.shape[2], dtype=np.float32)
    return np.stack([of_attack.astype(np.float32) @ ones for of_attack in right]).astype(np.int64)


def _scored(
    picking: npt.NDArray[np.int64],
    scoring: npt.NDArray[np.int64],
    draws: tuple[int, int],
    counts: Bools,
    score: Score,
    in_order: bool,
) -> Floats:
    """Return [images]: the score of the attack with the fewest right draws in `picking`.

    draws: numbers of draws in `picking` and in `scoring`. Ties on an image are broken by the right draws on all images,
        or
    on those before; the scores of attacks that still tie are averaged.
    """
    picking_draws, scoring_draws = draws
    right = np.where(counts, picking / picking_draws, 0.0)
    overall = (right.sum(axis=1) / np.maximum(counts.sum(axis=1), 1))[:, np.newaxis]
    if in_order:
        seen: npt.NDArray[np.int64] = np.cumsum(counts, axis=1) - counts
        overall = (np.cumsum(right, axis=1) - right) / np.maximum(seen, 1)
    # adds less than one draw, so that it decides between equal counts only
    tally = np.where(counts, right + 0.5 * overall / picking_draws, np.inf)
    picked = tally == tally.min(axis=0)
    return np.asarray((score(scoring, scoring_draws) * picked).sum(axis=0) / picked.sum(axis=0), dtype=np.float64)
