"""Intervals for a defense that makes one random choice for all images of a call, so that draws are shared by images.

Such draws do not average out over the images, so an interval over the images alone is too narrow. The mean depends on
two samples: the images, and the draws. Given the draws, the shares of right draws of the images are independent; given
the images, the mean accuracies of the draws are independent. Each gives an interval of half the error probability, and
the distances of both to the mean are added.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals.methods import interval

METHOD = "gaffke-shared-draws"


def shared_draws_interval(right: npt.ArrayLike, confidence: float = 0.95, *, anytime: bool = False) -> Estimate:
    """Estimate the mean accuracy over images and draws where all images share the random choice of a draw.

    Args:
        right: [images, draws] in [0,1], whether each draw was right; the draws of a column may depend on each other.
        confidence: In (0,1).
        anytime: Whether the results determined the number of images. No interval is known then, and it is [0, 1].

    Returns:
        The mean with its interval.
    """
    values = np.asarray(right, dtype=np.float64)
    mean = float(values.mean())
    low, high = 0.0, 1.0
    if not anytime:
        parts = [interval(values.mean(axis=axis), "gaffke", (1 + confidence) / 2) for axis in (1, 0)]
        low = max(0.0, mean - sum(mean - part.low for part in parts))
        high = min(1.0, mean + sum(part.high - mean for part in parts))
    return Estimate(mean, low, high, confidence, len(values), METHOD)
