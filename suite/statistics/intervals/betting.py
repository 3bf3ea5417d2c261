"""Confidence intervals of the mean of independent values in [0,1] by betting.

Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86(1), 2024 (arXiv
2010.09686); the hedged capital process, Theorem 3.

To test whether the mean is m, a bettor stakes one half of the capital on "above" and the other half on "below", value
by value. If m is the mean, the capital is a martingale and ever reaches 1/alpha with probability at most alpha
(Ville's inequality), so an m is excluded when one half alone makes the capital reach it:

    K+_t(m) = prod_{i<=t} 1 + min(lambda_i, c/m)     (x_i - m)      bets that the mean is above m
    K-_t(m) = prod_{i<=t} 1 - min(lambda_i, c/(1-m)) (x_i - m)      bets that it is below
    the interval = {m : max(K+_t(m), K-_t(m)) / 2 < 1/alpha for every t}

lambda does not depend on m, so K+ falls in m and K- rises in m: the set is an interval and a bisection finds
each end. Replacing x by 1-x and m by 1-m turns K- into K+ and leaves lambda as it is, so one routine finds
both ends.

**The order of the values matters**: the bet on image i may depend only on the images before it. The order is the
board's random image order, fixed before any result was seen; values that are sorted by size have no valid interval.
"""

from __future__ import annotations

from math import inf, log

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate, require_confidence, require_unit_values

Floats = npt.NDArray[np.float64]

TRUNCATION = 0.75
"""c, the largest part of the capital that one bet may lose. The paper proposes 1/2 or 3/4: they are alike in the
middle, and 3/4 gives intervals a fifth shorter for few images and an accuracy near 0 or 1.
"""

WARM_UP = 120.0
"""The smallest horizon of a bet of the sequence: that of image 34."""

_TOLERANCE = 1e-9


def betting(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Compute the interval for a number of images fixed in advance (hedged capital, intersected over time).

    It is not valid for a run that stops depending on its results; use `betting_sequence` there.

    Args:
        values: [n] in [0,1], one per image, in the board's random image order.
        confidence: In (0,1).

    Returns:
        The sample mean, with an interval whose coverage is >= confidence for every distribution of the values; its ends
        lie at most 1e-9 outside the exact ones. Time: proportional to n, some 60 passes over the values.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = require_unit_values(values)
    alpha = 1 - confidence
    bets = _bets(x, alpha, np.full(x.size, float(x.size)))
    low = _lower_end(x, bets, alpha)
    high = 1 - _lower_end(1 - x, bets, alpha)
    mean = float(x.mean())
    # Rounding can put the mean outside, and an order that is not random (right answers first) can reject
    # every m, low > high. Widening never lowers the coverage, so the interval is widened to hold all three.
    return Estimate(mean, min(low, high, mean), max(low, high, mean), confidence, x.size, "betting")


def betting_sequence(
    values: npt.ArrayLike, confidence: float = 0.95, *, resolution: float = 1e-3
) -> tuple[Floats, Floats]:
    """Compute a confidence sequence: intervals that hold at all times at once, so that a run may stop at any time.

    The bets are the paper's predictable plug-in, sqrt(2 log(2/alpha) / (variance_{t-1} t log(1+t))), except that
    t log(1+t) is at least `WARM_UP`: few images decide nothing, and large bets on them cost up to a third of the
    width after 2,000. Any rule that uses earlier values only keeps the coverage.

    Args:
        values: [n] in [0,1], one per image, in the board's random image order.
        confidence: In (0,1).
        resolution: Ends are rounded outwards to this grid, which keeps the coverage; in (0, 0.1].

    Returns:
        (low [n], high [n]): after t images the mean lies in [low[t-1], high[t-1]], for all t together with probability
        >= confidence. The entries up to t depend on the first t values alone. The interval only shrinks (it is
        intersected over time), and it need not hold the running mean.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence or resolution is out of its range.
    """
    require_confidence(confidence)
    if not 0 < resolution <= 0.1:
        raise ValueError(f"expected resolution in (0, 0.1], but got {resolution!r}; 1e-3 is a tenth of a percent")
    x = require_unit_values(values)
    alpha = 1 - confidence
    bets = _sequence_bets(x, alpha)
    low = _lower_ends(x, bets, alpha, resolution)
    high = 1 - _lower_ends(1 - x, bets, alpha, resolution)
    return np.minimum(low, high), np.maximum(low, high)


def betting_at_any_time(values: npt.ArrayLike, confidence: float = 0.95, *, resolution: float = 1e-3) -> Estimate:
    """Compute the last interval of `betting_sequence`, which is valid at any stopping time, widened to hold the mean.

    It is faster, because only the last interval is computed, by bisection over the grid.

    Args:
        values: [n] in [0,1], one per image, in the board's random image order.
        confidence: In (0,1).
        resolution: Ends are rounded outwards to this grid, which keeps the coverage; in (0, 0.1].

    Returns:
        The sample mean with the interval.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = require_unit_values(values)
    alpha = 1 - confidence
    bets = _sequence_bets(x, alpha)
    low = _last_on_grid(x, bets, alpha, resolution)
    high = 1 - _last_on_grid(1 - x, bets, alpha, resolution)
    mean = float(x.mean())
    return Estimate(mean, min(low, high, mean), max(low, high, mean), confidence, x.size, "betting-sequence")


def _sequence_bets(x: Floats, alpha: float) -> Floats:
    t = np.arange(1, x.size + 1, dtype=np.float64)
    return _bets(x, alpha, np.maximum(t * np.log1p(t), WARM_UP))


def _bets(x: Floats, alpha: float, horizon: Floats) -> Floats:
    """Return lambda [n] before truncation: sqrt(2 log(2/alpha) / (horizon_t variance_{t-1})).

    horizon: [n], n itself for an interval at a fixed n, t log(1+t) for a sequence. Mean and variance include
    one artificial value of mean 1/2 and variance 1/4; the bet on x_t depends on the values before it only.
    """
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    variance_before = np.concatenate(([0.25], variance[:-1]))
    return np.sqrt(2 * log(2 / alpha) / (horizon * variance_before))


def _rejected(x: Floats, bets: Floats, m: float, alpha: float) -> npt.NDArray[np.bool_]:
    """Return [n]: whether K+_t(m) / 2 >= 1/alpha after each t; in logarithms, because the capital overflows a float."""
    stakes = np.minimum(bets, TRUNCATION / m if m > 0 else inf)
    return np.cumsum(np.log1p(stakes * (x - m))) >= log(2 / alpha)


def _lower_end(x: Floats, bets: Floats, alpha: float) -> float:
    """The largest m that K+ rejects at any t, from below to within the tolerance; 0 where it rejects none."""
    if not _rejected(x, bets, 0.0, alpha).any():
        return 0.0
    out, kept = 0.0, 1.0
    while kept - out > _TOLERANCE:
        m = (out + kept) / 2
        if _rejected(x, bets, m, alpha).any():
            out = m
        else:
            kept = m
    return out


def _lower_ends(x: Floats, bets: Floats, alpha: float, resolution: float) -> Floats:
    """[n]: after each t, the largest m on the grid that K+ has rejected so far; 0 where there is none."""
    rejected_at: list[int] = []
    for m in np.arange(0.0, 1.0, resolution):
        rejected = _rejected(x, bets, float(m), alpha)
        if not rejected.any():
            break  # K+ falls in m: no larger m is rejected either
        rejected_at.append(int(np.argmax(rejected)))
    # Larger m are rejected later; the accumulated maximum only corrects ties that rounding has broken.
    order = np.maximum.accumulate(np.asarray(rejected_at, dtype=np.int64))
    below = np.searchsorted(order, np.arange(x.size), side="right") - 1
    return np.maximum(below, 0) * resolution


def _last_on_grid(x: Floats, bets: Floats, alpha: float, resolution: float) -> float:
    """The largest m on the grid that K+ rejects at any t; 0 where it rejects none."""
    grid = np.arange(0.0, 1.0, resolution)
    out, kept = -1, grid.size
    while kept - out > 1:
        middle = (out + kept) // 2
        if _rejected(x, bets, float(grid[middle]), alpha).any():
            out = middle
        else:
            kept = middle
    return max(out, 0) * resolution
