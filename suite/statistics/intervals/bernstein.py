"""Empirical Bernstein intervals: the mean of independent values in [0,1] from their variance.

They are wider than those of betting, and in closed form: the two ends can be checked on paper. L = log(2/alpha) for
two sides.

fixed n   Maurer & Pontil, "Empirical Bernstein bounds and sample-variance penalization", COLT 2009 (arXiv:0907.3740),
          Theorem 4 on either side:  mean ± sqrt(2 V log(4/alpha) / n) + 7 log(4/alpha) / (3 (n-1))
any time  the predictable plug-in of Waudby-Smith & Ramdas (JRSS-B 86, 2024, arXiv:2010.09686), Theorem 2:
          sum lambda_i x_i / sum lambda_i  ±  (L + sum v_i psi(lambda_i)) / sum lambda_i,
          v_i = 4 (x_i - mean_{i-1})²,  psi(l) = (-log(1-l) - l) / 4
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate, require_confidence, require_unit_values

Floats = npt.NDArray[np.float64]

_MOST = 0.5
"""The largest lambda, as the paper proposes."""


def empirical_bernstein(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Compute the interval of Maurer & Pontil for a number of images fixed in advance.

    Args:
        values: [n] in [0,1], one per image, in any order. The interval of a single image is [0, 1].
        confidence: In (0,1).

    Returns:
        The sample mean, with an interval whose coverage is >= confidence for every distribution of the values.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = require_unit_values(values)
    mean = float(x.mean())
    half = 1.0
    if x.size > 1:
        # each side holds with 1 - alpha/2, and Theorem 4 spends log(2/delta) on delta = alpha/2
        spent = log(4 / (1 - confidence))
        half = sqrt(2 * float(x.var(ddof=1)) * spent / x.size) + 7 * spent / (3 * (x.size - 1))
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, 1.0), confidence, x.size, "empirical-bernstein")


def empirical_bernstein_sequence(values: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Compute a confidence sequence: intervals that hold at all times at once, so that a run may stop at any time.

    Args:
        values: [n] in [0,1], one per image, in the board's random image order.
        confidence: In (0,1).

    Returns:
        (low [n], high [n]), intersected over time as in `betting_sequence`, which is shorter.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = require_unit_values(values)
    spent = log(2 / (1 - confidence))
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    mean_before = np.concatenate(([0.5], mean[:-1]))
    variance_before = np.concatenate(([0.25], variance[:-1]))
    bets = np.minimum(np.sqrt(2 * spent / (variance_before * t * np.log1p(t))), _MOST)
    staked = np.cumsum(bets)
    centre = np.cumsum(bets * x) / staked
    half = (spent + np.cumsum((x - mean_before) ** 2 * (-np.log1p(-bets) - bets))) / staked
    low = np.maximum.accumulate(np.clip(centre - half, 0.0, 1.0))
    high = np.minimum.accumulate(np.clip(centre + half, 0.0, 1.0))
    return np.minimum(low, high), np.maximum(low, high)
