"""Survival analysis of adversarial distances, some of which are unknown because nothing was found.

The share of images that survive radius r is the security curve (`curve`). An image on which nothing was found is
censored at the largest radius searched there: it survives at least up to that radius, and nothing is known beyond.

kaplan_meier       images may have been searched up to different radii; Kaplan & Meier, JASA 53, 1958, with Greenwood's
                   variance on the scale log(-log S), which keeps the ends in [0,1]; where S is 0 or 1, Clopper &
                   Pearson's interval of the images that are known there. Valid pointwise, approximate;
                   where all were searched alike `security_curve` is exact.
survival_band      the whole curve at once, exact for any n: S ± sqrt(log(2/alpha) / (2n)), Dvoretzky, Kiefer &
                   Wolfowitz with the constant of Massart, Annals of Probability 18, 1990.
median_with_ends   order statistics: the number of distances below the median is binomial(n, 1/2). Exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from purebench.statistics.distances.curve import median_distance
from purebench.statistics.estimate import Estimate, require_confidence
from purebench.statistics.intervals.methods import interval
from purebench.statistics.intervals.proportions import clopper_pearson

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MedianDistance:
    """The median distance with its interval; None means farther than was searched.

    Attributes:
        value: The median, in the units of the distances.
        low: Lower end of its interval.
        high: Upper end of its interval.
        confidence: Nominal coverage of the interval, in (0,1).
        n: Number of images.
        method: "order-statistics", or "betting-sequence".
    """

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    method: str = "order-statistics"


def kaplan_meier(
    distances: Sequence[float | None],
    radii: Sequence[float],
    searched: float | Sequence[float],
    confidence: float = 0.95,
) -> list[Estimate]:
    """Estimate the share of images that survives each radius ("kaplan-meier").

    Args:
        distances: One per image, >= 0; None where nothing was found.
        radii: Radii >= 0, none beyond the largest radius searched.
        searched: The largest radius searched, for all images or one per image.
        confidence: In (0,1), of each point separately.

    Returns:
        Fractions in [0,1], in the order of `radii`.

    Raises:
        ValueError: For arguments out of their range.
    """
    from scipy.stats import CensoredData, ecdf  # imported here because it takes a second

    require_confidence(confidence)
    times, broke = _observed(distances, searched)
    asked = _radii(radii, float(np.max(searched)))
    survival = ecdf(CensoredData(uncensored=times[broke], right=times[~broke])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the interval is undefined where the curve is 0 or 1
        ends = survival.confidence_interval(confidence, method="log-log")
    value, low, high = (np.asarray(curve.evaluate(asked)) for curve in (survival, ends.low, ends.high))
    found = []
    for radius, survives, lower, upper in zip(asked, value.tolist(), low.tolist(), high.tolist(), strict=True):
        if not 0 < survives < 1:  # Greenwood's variance is 0: the exact interval of the images that are known there
            known = int(((times >= radius) | (broke & (times <= radius))).sum())
            exact = clopper_pearson(round(survives * known), known, confidence)
            lower, upper = exact.low, exact.high
        found.append(
            Estimate(survives, min(lower, survives), max(upper, survives), confidence, times.size, "kaplan-meier")
        )
    return found


def survival_band(
    distances: Sequence[float | None], radii: Sequence[float], searched: float, confidence: float = 0.95
) -> list[Estimate]:
    """Estimate the share that survives each radius, with a band that holds the whole curve at once ("dkw-band").

    Args:
        distances: One per image, >= 0; None where nothing was found.
        radii: Radii in [0, searched].
        searched: The largest radius searched, the same for all images.
        confidence: In (0,1), of the curve as a whole.

    Returns:
        Fractions in [0,1], in the order of `radii`.

    Raises:
        ValueError: For arguments out of their range.
    """
    require_confidence(confidence)
    times, broke = _observed(distances, searched)
    asked = _radii(radii, searched)
    half = sqrt(log(2 / (1 - confidence)) / (2 * times.size))
    shares = 1 - np.searchsorted(np.sort(times[broke]), asked, side="right") / times.size
    return [
        Estimate(float(s), max(float(s) - half, 0.0), min(float(s) + half, 1.0), confidence, times.size, "dkw-band")
        for s in shares
    ]


def median_with_ends(
    distances: Sequence[float | None], confidence: float = 0.95, *, anytime: bool = False
) -> MedianDistance:
    """Estimate the median distance, with its exact interval between two order statistics.

    Args:
        distances: One per image, >= 0; None where nothing was found, which is farther than all others. If anytime, in
            the board's random order.
        confidence: In (0,1); for very few images the interval is everything, from 0 on.
        anytime: Whether the interval holds at any time, for a run that may stop at any time: every m for which the
            betting sequences of P(distance > m) and P(distance >= m) do not exclude that it is the median.

    Returns:
        The median and the ends of its interval.

    Raises:
        ValueError: For no images, distances that are negative or NaN, and a confidence outside (0,1).
    """
    require_confidence(confidence)
    value = median_distance(distances)
    if anytime:
        return _median_at_any_time(value, distances, confidence)
    known = np.sort([np.inf if distance is None else float(distance) for distance in distances])
    # P(binomial < k) <= tail: the k-th distance from below, and from above
    tail = (1 - confidence) / 2
    k = int(np.searchsorted(bdtr(np.arange(known.size + 1), known.size, 0.5), tail))
    low = float(known[k - 1]) if k > 0 else 0.0
    high = float(known[known.size - k]) if k > 0 else np.inf
    return MedianDistance(value, low if low < np.inf else None, high if high < np.inf else None, confidence, known.size)


def _median_at_any_time(value: float | None, distances: Sequence[float | None], confidence: float) -> MedianDistance:
    given = np.array([np.inf if distance is None else float(distance) for distance in distances])
    # nothing changes between two neighbouring distances, so each one represents the interval above it, or below
    places = [0.0, *(float(d) for d in np.unique(given[np.isfinite(given)]))]
    above = (m for m in places if interval(given > m, "betting-sequence", confidence).low <= 0.5)
    below = (m for m in [np.inf, *reversed(places)] if interval(given >= m, "betting-sequence", confidence).high >= 0.5)
    low, high = next(above, np.inf), next(below, 0.0)
    if value is not None:
        low, high = min(low, value), max(high, value)
    ends = (low if low < np.inf else None, high if high < np.inf else None)
    return MedianDistance(value, *ends, confidence, given.size, "betting-sequence")


def _observed(
    distances: Sequence[float | None], searched: float | Sequence[float]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return [n] distances (or the radius searched), and [n] whether an adversarial example was found there."""
    limits = np.broadcast_to(np.asarray(searched, dtype=np.float64), (len(distances),))
    broke = np.array([distance is not None for distance in distances], dtype=np.bool_)
    times = np.array([limit if d is None else d for d, limit in zip(distances, limits, strict=True)], dtype=np.float64)
    if times.size == 0 or not ((times >= 0) & (times <= limits) & np.isfinite(limits)).all():
        raise ValueError(
            "expected at least one distance, and all between 0 and the searched radius, but got other values; give "
            "None where nothing was found, and the largest searched radius"
        )
    return times, broke


def _radii(radii: Sequence[float], most: float) -> Floats:
    asked = np.asarray(radii, dtype=np.float64)
    if asked.ndim != 1 or not ((asked >= 0) & (asked <= most)).all():
        raise ValueError(
            f"expected radii in [0, {most}], which were searched, but got {radii!r}; leave out larger ones"
        )
    return asked
