"""A bracket for the accuracy under the worst attack of each image, mean_i min_a q[i,a], of a random defense.

Neither end can be estimated without bias from a few draws: the smallest of several noisy fractions lies below the
smallest probability, and the accuracy under a picked attack lies above it. So each end errs to its own side:

    low   a one-sided bound on the mean of z_i = min_a (right draws / draws), over equally many draws of every attack
          that were fixed in advance: E z_i <= min_a q[i,a] by Jensen's inequality
    high  a one-sided bound on the mean of the picked attack's fresh draws: E = q[i, pick(i)] >= min_a q[i,a]

By the union bound both hold at once. More draws of every attack raise the low end, a better pick lowers the high end,
and more images narrow both.
"""

from __future__ import annotations

import numpy.typing as npt

from purebench.statistics.estimate import Estimate, require_confidence, require_unit_values
from purebench.statistics.intervals.betting import betting_at_any_time
from purebench.statistics.intervals.gaffke import one_sided_bound


def bracket(
    lowest: npt.ArrayLike, fresh: npt.ArrayLike, confidence: float = 0.95, *, anytime: bool = False
) -> Estimate:
    """Compute a lower and an upper confidence bound of mean_i min_a q[i,a].

    Args:
        lowest: [n] in [0,1], one per image: the smallest fraction of right draws over attacks, from the same number of
            draws for every attack. Never from draws of successive halving: attacks that are dropped early had bad luck.
        fresh: [n] in [0,1], the same images: the fraction of right draws of the picked attack, from draws that did not
            pick it.
        confidence: Probability in (0,1) with which both ends hold; each holds with (1 + confidence) / 2.
        anytime: Whether the ends hold however the number of images was chosen; the images in the board's random order.

    Returns:
        The mean of `fresh` in the bracket; its method is "bracket", or "bracket-sequence" if anytime. Where the ends
        cross or exclude the value they are widened to hold it.

    Raises:
        ValueError: If the values are not [n] in [0,1], their numbers differ, or confidence is outside (0,1).
    """
    require_confidence(confidence)
    below, above = require_unit_values(lowest), require_unit_values(fresh)
    if below.size != above.size:
        raise ValueError(
            f"expected as many images at the lower end as at the upper end, but got {below.size} for the lowest "
            f"fractions and {above.size} for the fresh ones; pass both for the same images"
        )
    if anytime:
        # each end of a two-sided betting sequence spends half of 1 - confidence
        low, high = betting_at_any_time(below, confidence).low, betting_at_any_time(above, confidence).high
    else:
        each = (1 + confidence) / 2
        low, high = one_sided_bound(below, each, "low"), one_sided_bound(above, each, "high")
    value = float(above.mean())
    method = "bracket-sequence" if anytime else "bracket"
    return Estimate(value, min(low, high, value), max(low, high, value), confidence, above.size, method)
