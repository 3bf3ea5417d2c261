"""Computes the shares of images by how often the defense is right on them.

A mean of 50 % can mean that half of the images are always right, or that all of them are right half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate, require_confidence
from purebench.statistics.intervals.proportions import clopper_pearson


@dataclass(frozen=True, slots=True)
class OutcomeShares:
    """Shares of images by the observed fraction of right draws, each with its Clopper–Pearson interval.

    They are shares of observed fractions, not of the probabilities q behind them: with 32 draws an image with q = 0.95
    has a fraction of at least 0.95 (31 of 32) with a probability of 52 %. More draws bring the two closer.

    Attributes:
        nearly_always: Share of images with a fraction of at least 0.95.
        majority: Share of images with a fraction above 1/2.
        nearly_never: Share of images with a fraction of at most 0.05.
        draws: Number of draws of each image.
    """

    nearly_always: Estimate
    majority: Estimate
    nearly_never: Estimate
    draws: int


def outcome_shares(right: npt.ArrayLike, draws: int, confidence: float = 0.95) -> OutcomeShares:
    """Compute the shares of images that are right nearly always, mostly and nearly never.

    Args:
        right: int [images], right draws of each image, from 0 to draws, of draws that were not used to pick an attack.
        draws: Number of draws of each image, >= 1, the same for all.
        confidence: Of each interval separately, in (0,1).

    Returns:
        The shares, of observed fractions.

    Raises:
        ValueError: If right is not [images] in 0..draws, or confidence is outside (0,1).
    """
    require_confidence(confidence)
    found = np.asarray(right)
    if found.ndim != 1 or found.size == 0 or draws < 1 or not ((found >= 0) & (found <= draws)).all():
        raise ValueError(
            f"expected right draws [images] from 0 to draws, at least 1 image and draw, but got shape "
            f"{list(found.shape)} and {draws!r} draws; count the right draws of each image"
        )
    # compares counts, because fractions such as 0.95 have no exact float
    limits = (found * 20 >= draws * 19, found * 2 > draws, found * 20 <= draws)
    always, mostly, never = (clopper_pearson(int(one.sum()), found.size, confidence) for one in limits)
    return OutcomeShares(always, mostly, never, draws)
