"""Intervals for a proportion of n independent yes/no answers: a deterministic defense, right or wrong.

`clopper_pearson` never covers less than it says and is what a board reports; `wilson` is shorter and covers
what it says on average over p, dipping below it for some p.
"""

from __future__ import annotations

from operator import index

from scipy.stats import beta, binomtest

from purebench.statistics.estimate import Estimate, require_confidence


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """The exact interval of Clopper & Pearson (Biometrika 26, 1934): what two exact tests keep.

    successes: right answers, 0..n. n: images, >= 1. confidence: in (0,1); each end leaves half of the rest.
    Returns a fraction in [0,1] with coverage >= confidence for every p and n.
    Raises ValueError where an argument is out of its range, TypeError where a count is not a whole number.

    The ends are quantiles of the beta distribution (binomtest's "exact" finds the same numbers with a root
    search, which is slower and ends at its tolerance).
    """
    successes, n = _require_counts(successes, n)
    require_confidence(confidence)
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return _estimate(successes, n, low, high, confidence, "clopper-pearson")


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """The score interval of Wilson (JASA 22, 1927), without continuity correction.

    successes: right answers, 0..n. n: images, >= 1. confidence: in (0,1).
    Returns a fraction in [0,1]; its coverage averaged over p is close to `confidence`, and for some p below
    it (Brown, Cai & DasGupta, Statistical Science 16, 2001).
    Raises ValueError where an argument is out of its range, TypeError where a count is not a whole number.
    """
    successes, n = _require_counts(successes, n)
    require_confidence(confidence)
    ends = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return _estimate(successes, n, float(ends.low), float(ends.high), confidence, "wilson")


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
    # Both intervals hold successes/n in exact arithmetic; rounding may move an end past it by one ulp.
    return Estimate(value, min(low, value), max(high, value), confidence, n, method)
