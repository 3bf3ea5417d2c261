"""Intervals for a proportion of n independent yes/no answers: a deterministic defense, right or wrong.

The coverage of `clopper_pearson` is never below the nominal one, for any p and n; a board reports it.
`wilson_corrected` is close to it. `wilson`, `jeffreys` and `agresti_coull` are calibrated (see
`calibration`): they have their nominal coverage for every p in [0.02, 0.98]; as in the textbooks, with
calibrated=False, they have it on average over p only.
"""

from __future__ import annotations

from operator import index

import numpy as np
import numpy.typing as npt
from scipy.special import betainccinv, betaincinv, ndtr, ndtri

from purebench.statistics.estimate import Estimate, require_confidence
from purebench.statistics.intervals.calibration import Ends, calibrated

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Compute the exact interval of Clopper & Pearson (Biometrika 26, 1934).

    It holds the values that two exact tests do not reject. The ends are quantiles of the beta distribution (binomtest's
    "exact" finds the same numbers with a root search, which is slower and ends at its tolerance).

    Args:
        successes: Right answers, 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1); each end has half of the remaining error.

    Returns:
        A fraction in [0,1] with coverage >= confidence for every p and n.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If a count is not a whole number.
    """
    successes, n = _require_counts(successes, n)
    require_confidence(confidence)
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betainccinv(successes + 1, n - successes, tail)) if successes < n else 1.0
    return _estimate(successes, n, low, high, confidence, "clopper-pearson")


def clopper_pearson_table(successes: Counts, n: int, confidence: float = 0.95) -> list[Estimate]:
    """Compute `clopper_pearson` for many numbers of successes at once, which is several times faster.

    Args:
        successes: [k], right answers, each in 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1).

    Returns:
        The estimate of each number of successes.

    Raises:
        ValueError: If an argument is out of its range.
    """
    require_confidence(confidence)
    for one in (successes.min(), successes.max()) if successes.size else ():
        _require_counts(int(one), n)
    tail = (1 - confidence) / 2
    some, fewer = np.maximum(successes, 1), np.minimum(successes, n - 1)
    low = np.where(successes > 0, betaincinv(some, n - some + 1, tail), 0.0)
    high = np.where(successes < n, betainccinv(fewer + 1, n - fewer, tail), 1.0)
    ends = zip(successes.tolist(), low.tolist(), high.tolist(), strict=True)
    return [_estimate(k, n, least, most, confidence, "clopper-pearson") for k, least, most in ends]


def wilson_ends(successes: Counts, n: int, z: float) -> tuple[Floats, Floats]:
    """Compute the ends of the score interval: all p that a z-test does not reject.

    Args:
        successes: Right answers, each in 0..n, any shape.
        n: Number of images, >= 1.
        z: Normal quantile of the level (1.96 for 95 %).

    Returns:
        The low and the high ends, of the shape of `successes`.
    """
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(successes * (n - successes) / n + z**2 / 4) / (n + z**2)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def jeffreys_ends(successes: Counts, n: int, z: float) -> tuple[Floats, Floats]:
    """Compute quantiles of the posterior beta(k+1/2, n-k+1/2); the end is 0 for no success and 1 for no failure.

    Args:
        successes: Right answers, each in 0..n, any shape.
        n: Number of images, >= 1.
        z: Normal quantile of the level (1.96 for 95 %).

    Returns:
        The low and the high ends, of the shape of `successes`.
    """
    tail = float(ndtr(-z))
    low = np.where(successes == 0, 0.0, betaincinv(successes + 0.5, n - successes + 0.5, tail))
    high = np.where(successes == n, 1.0, betainccinv(successes + 0.5, n - successes + 0.5, tail))
    return low, high


def agresti_coull_ends(successes: Counts, n: int, z: float) -> tuple[Floats, Floats]:
    """Compute the ends of the normal interval after z²/2 successes and z²/2 failures are added.

    Args:
        successes: Right answers, each in 0..n, any shape.
        n: Number of images, >= 1.
        z: Normal quantile of the level (1.96 for 95 %).

    Returns:
        The low and the high ends, of the shape of `successes`.
    """
    more = n + z**2
    centre = (successes + z**2 / 2) / more
    half = z * np.sqrt(centre * (1 - centre) / more)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def wilson(successes: int, n: int, confidence: float = 0.95, *, calibrated: bool = True) -> Estimate:
    """Compute the score interval of Wilson (JASA 22, 1927), without continuity correction.

    Args:
        successes: Right answers, 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1).
        calibrated: Whether to use the level that makes the coverage >= confidence for every p in [0.02, 0.98]; False
            for the interval as published ("wilson-approximate"), whose coverage averaged over p is close to
            `confidence` and for some p 5 points lower.

    Returns:
        A fraction in [0,1].

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If a count is not a whole number.
    """
    return _proportion("wilson", wilson_ends, successes, n, confidence, calibrated)


def jeffreys(successes: int, n: int, confidence: float = 0.95, *, calibrated: bool = True) -> Estimate:
    """Compute the equal-tailed Bayesian interval under Jeffreys' prior beta(1/2, 1/2).

    Brown, Cai & DasGupta 2001 use it in this form.

    Args:
        successes: Right answers, 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1).
        calibrated: As for `wilson`.

    Returns:
        A fraction in [0,1].

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If a count is not a whole number.
    """
    return _proportion("jeffreys", jeffreys_ends, successes, n, confidence, calibrated)


def agresti_coull(successes: int, n: int, confidence: float = 0.95, *, calibrated: bool = True) -> Estimate:
    """Compute the interval "add two successes and two failures", for few images.

    Agresti & Coull, The American Statistician 52, 1998.

    Args:
        successes: Right answers, 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1).
        calibrated: As for `wilson`.

    Returns:
        A fraction in [0,1].

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If a count is not a whole number.
    """
    return _proportion("agresti-coull", agresti_coull_ends, successes, n, confidence, calibrated)


def wilson_corrected(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Compute the score interval with continuity correction: method 4 of Newcombe (Statistics in Medicine 17, 1998).

    Args:
        successes: Right answers, 0..n.
        n: Number of images, >= 1.
        confidence: In (0,1).

    Returns:
        A fraction in [0,1]; at 95 % its exact coverage is >= 95 % for p in [0.02, 0.98] and n from 20 to 2,000.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If a count is not a whole number.
    """
    from scipy.stats import binomtest  # imported here because it takes a second and only this method needs it

    successes, n = _require_counts(successes, n)
    require_confidence(confidence)
    low, high = binomtest(successes, n).proportion_ci(confidence, method="wilsoncc")
    return _estimate(successes, n, float(low), float(high), confidence, "wilson-cc")


def _proportion(name: str, ends: Ends, successes: int, n: int, confidence: float, calibrate: bool) -> Estimate:
    """Return the interval at the calibrated level, or at the nominal one."""
    successes, n = _require_counts(successes, n)
    require_confidence(confidence)
    z = calibrated(ends, n, confidence) if calibrate else -float(ndtri((1 - confidence) / 2))
    low, high = ends(np.array([successes]), n, z)
    method = name if calibrate else f"{name}-approximate"
    return _estimate(successes, n, float(low[0]), float(high[0]), confidence, method)


def _require_counts(successes: int, n: int) -> tuple[int, int]:
    successes, n = index(successes), index(n)
    if n < 1:
        raise ValueError(f"expected n to be at least 1 image, but got n={n}; leave the estimate out instead")
    if not 0 <= successes <= n:
        raise ValueError(
            f"expected 0 <= successes <= n, but got successes={successes} and n={n}; "
            "count right answers by image, not by draw"
        )
    return successes, n


def _estimate(successes: int, n: int, low: float, high: float, confidence: float, method: str) -> Estimate:
    value = successes / n
    # Nearly every interval contains successes/n; rounding, or an end that is not derived from a test, may exclude it.
    return Estimate(value, min(low, value), max(high, value), confidence, n, method)
