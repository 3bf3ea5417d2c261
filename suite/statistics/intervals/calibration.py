"""Computes the exact coverage of an interval for a proportion, and the level at which it has its nominal coverage.

The textbook intervals of Wilson, Jeffreys and Agresti & Coull cover 95 % on average over p and less for some p (Brown,
Cai & DasGupta, Statistical Science 16, 2001, doi:10.1214/ss/1009213286). Here an interval is computed at the smallest
level, for its n, at which its least coverage over p in [0.02, 0.98] is the confidence asked for. Nothing is simulated:
the coverage at p is a sum over the binomial distribution, and its infimum over p is found without a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

Floats = npt.NDArray[np.float64]
Ends = Callable[[npt.NDArray[np.int64], int, float], tuple[Floats, Floats]]
"""A function of successes [any], n and the normal quantile z of the level (1.96 for 95 %) that returns low and high
ends.
"""

WITHIN = (0.02, 0.98)
"""Range of p in which a calibrated interval has its nominal coverage. Nearer to 0 and 1 only Clopper–Pearson has it: no
finite level corrects the others for all p at once without making them longer than it.
"""

_HALVINGS = 14


def least_coverage(low: Floats, high: Floats, within: tuple[float, float] = WITHIN) -> float:
    """Compute the infimum over p of the probability that [low[X], high[X]] contains p, for X binomial(n, p).

    Between two neighbouring ends the numbers of successes whose intervals contain p are the same run a..b, and
    P(a <= X <= b) rises and then falls with p; so the infimum is a limit at one of the ends, from one of its sides.
    Ends that do not rise with the successes are treated as if they did, which never raises the result.

    Args:
        low: [n+1], the low ends by number of successes 0..n.
        high: [n+1], the high ends.
        within: Range of p.

    Returns:
        The least coverage, in [0,1].
    """
    n = low.size - 1
    low = np.maximum.accumulate(low)
    high = np.minimum.accumulate(high[::-1])[::-1]
    ends = np.unique(np.concatenate([low, high, within]))
    ends = ends[(ends >= within[0]) & (ends <= within[1])]
    before, after = ends[:-1], ends[1:]
    first = np.searchsorted(high, after, side="left")
    last = np.searchsorted(low, before, side="right") - 1
    return min(float(_between(first, last, n, p).min()) for p in (before, after))


@lru_cache(maxsize=4096)
def calibrated(ends: Ends, n: int, confidence: float) -> float:
    """Find the smallest z, at least the nominal one, at which `ends` has coverage `confidence` for every p in `WITHIN`.

    It takes milliseconds up to n = 2,000 and grows with n; the result is cached for the rest of the process.

    Args:
        ends: An interval whose length grows with z.
        n: Number of images, >= 1.
        confidence: In (0,1).

    Returns:
        The normal quantile z.
    """
    successes = np.arange(n + 1)
    nominal = -float(ndtri((1 - confidence) / 2))
    if least_coverage(*ends(successes, n, nominal)) >= confidence:
        return nominal
    short, enough = nominal, nominal + 0.25
    while least_coverage(*ends(successes, n, enough)) < confidence:
        short, enough = enough, 2 * enough
    for _ in range(_HALVINGS):
        z = (short + enough) / 2
        if least_coverage(*ends(successes, n, z)) >= confidence:
            enough = z
        else:
            short = z
    return enough


def _between(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64], n: int, p: Floats) -> Floats:
    """P(first <= X <= last) for X binomial(n, p); 0 where the run is empty."""
    up_to = np.where(last >= 0, bdtr(np.maximum(last, 0).astype(np.float64), n, p), 0.0)
    under = np.where(first >= 1, bdtr(np.maximum(first - 1, 0).astype(np.float64), n, p), 0.0)
    return np.asarray(np.maximum(up_to - under, 0.0), dtype=np.float64)
