"""Which attack hurts most on each image, found on some draws so that it can be scored on others.

The smallest of several noisy fractions lies below the smallest probability (the winner's curse), so what is picked on
one half of the draws is scored on the other half, and the halves change places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Score = Callable[[npt.NDArray[np.int64], int], Floats]
"""right draws [attacks, images] and of how many → what they are worth, in [0,1]: their share, or a power of it."""


def split_score(right: Bools, counts: Bools, score: Score, *, in_order: bool = False) -> Floats:
    """[images] in [0,1]: `score` of the picked attack, on the draws that did not pick it; both ways round, averaged.

    right: bool [attacks, images, draws]. counts: bool [attacks, images], False where the attack is out; one at least is
    in on every image. One draw picks and is scored. With an odd number one half has one more.
    in_order: what ties on an image is told apart by the images before it, not by all, so that its score never changes
    when images are added, as a confidence sequence needs.
    """
    draws = right.shape[2]
    half = draws // 2
    if half == 0:
        return _scored(_right(right), _right(right), (1, 1), counts, score, in_order)
    first, second = _right(right[:, :, :half]), _right(right[:, :, half:])
    rest = draws - half
    one = _scored(first, second, (half, rest), counts, score, in_order)
    return (one + _scored(second, first, (rest, half), counts, score, in_order)) / 2


def _right(right: Bools) -> npt.NDArray[np.int64]:
    """[attacks, images]: the number of right draws; image by image in memory, so it is summed attack by attack."""
    return np.stack([np.count_nonzero(of_attack, axis=1) for of_attack in right])


def _scored(
    picking: npt.NDArray[np.int64],
    scoring: npt.NDArray[np.int64],
    draws: tuple[int, int],
    counts: Bools,
    score: Score,
    in_order: bool,
) -> Floats:
    """[images]: the score of the attack with the fewest right draws in `picking`; draws: that pick, and that score.

    Attacks that tie on an image are told apart by how they do on all images, or on those before; what still ties,
    shares.
    """
    picking_draws, scoring_draws = draws
    right = np.where(counts, picking / picking_draws, 0.0)
    overall = (right.sum(axis=1) / np.maximum(counts.sum(axis=1), 1))[:, np.newaxis]
    if in_order:
        seen: npt.NDArray[np.int64] = np.cumsum(counts, axis=1) - counts
        overall = (np.cumsum(right, axis=1) - right) / np.maximum(seen, 1)
    # less than one draw's worth, so that it decides between equal counts only
    tally = np.where(counts, right + 0.5 * overall / picking_draws, np.inf)
    picked = tally == tally.min(axis=0)
    return np.asarray((score(scoring, scoring_draws) * picked).sum(axis=0) / picked.sum(axis=0), dtype=np.float64)
