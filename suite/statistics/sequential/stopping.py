"""Stopping rules of a run: intervals are short enough, all neighbours are decided, or more images would not help.

All of these may be evaluated after every image, or never, and the run may stop for any reason: they stay valid.

half-width   the betting sequence of each row (`betting_sequence`)
decided      a bet on every pair at once (`anytime`), with Holm's correction over all pairs
futile       by stochastic curtailment (Lan, Simon & Halperin, Communications in Statistics C 1, 1982): even a
             difference somewhat larger than that of the images so far is unlikely to be detected by the last image. A
             futile stop rejects nothing, so it costs power and never causes an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import combinations, pairwise
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from purebench.statistics.estimate import require_confidence, require_outcomes
from purebench.statistics.intervals.betting import betting_sequence
from purebench.statistics.multiplicity import holm
from purebench.statistics.sequential.anytime import STAKES, anytime_p_values

Floats = npt.NDArray[np.float64]

OPTIMISM = 1.0
"""Number of standard errors that futility adds to the difference seen so far, in favour of continuing."""

HARDLY = 0.1
"""A pair is futile if its probability of being decided by the last image is below this."""

FEW = 20
"""Number of images before which no pair is called futile."""


class Verdict(Enum):
    """The state of a pair of neighbours.

    Attributes:
        APART: The two are significantly different.
        FUTILE: The remaining images are unlikely to decide it.
        OPEN: More images may decide it.
    """

    APART = "apart"
    FUTILE = "futile"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two defenses that are next to each other by mean.

    Attributes:
        better: Row of the defense with the larger mean.
        worse: Row of the other one.
        verdict: State of the pair.
        p_value: Valid at any time, Holm-corrected over all pairs.
        difference: Of their means so far, >= 0.
        chance: Probability of being distinguished by the last image; 1 where they are distinguished already.
    """

    better: int
    worse: int
    verdict: Verdict
    p_value: float
    difference: float
    chance: float


def half_width_reached(
    outcomes: npt.ArrayLike, half_width: float, confidence: float = 0.95, *, together: bool = False
) -> bool:
    """Return whether the half-width of every row's interval is at most `half_width`.

    Args:
        outcomes: [defenses, images so far] in [0,1], in the board's random order.
        half_width: A fraction in (0,1/2).
        confidence: Of the intervals, in (0,1).
        together: Whether all rows' intervals hold at once, each with its part of the error (Bonferroni), or each by
            itself.

    Returns:
        Whether all intervals are short enough.

    Raises:
        ValueError: For another shape, values outside [0,1], and arguments out of their range.
    """
    values = require_outcomes(outcomes)
    require_confidence(confidence)
    if not 0 < half_width < 0.5:
        raise ValueError(f"expected a half-width in (0, 0.5), but got {half_width!r}; two percentage points are 0.02")
    each = 1 - (1 - confidence) / values.shape[0] if together else confidence
    return bool((half_widths(values, each)[:, -1] <= half_width).all())


def half_widths(outcomes: npt.ArrayLike, confidence: float = 0.95) -> Floats:
    """Compute the half-width of each row's betting sequence after each image, widened to hold the mean.

    Args:
        outcomes: [defenses, images] in [0,1], in the board's random order.
        confidence: Of the intervals, in (0,1).

    Returns:
        [defenses, images]. The entries up to t depend on the first t images alone.

    Raises:
        ValueError: For another shape, values outside [0,1], and a confidence outside (0,1).
    """
    values = require_outcomes(outcomes)
    found = np.empty_like(values)
    for row, into in zip(values, found, strict=True):
        low, high = betting_sequence(row, confidence)
        mean = np.cumsum(row) / np.arange(1, row.size + 1)
        into[:] = (np.maximum(high, mean) - np.minimum(low, mean)) / 2
    return found


def decided(outcomes: npt.ArrayLike, total: int, confidence: float = 0.95) -> list[Neighbours]:
    """Find the state of every pair of neighbours; a run may stop when none is OPEN.

    Args:
        outcomes: [defenses, images so far] in [0,1], the same images for all, in the board's random order.
        total: Number of images if the run is not stopped, at least the images so far.
        confidence: In (0,1), the probability that no two equally good defenses are called apart, however often this is
            evaluated.

    Returns:
        J - 1 pairs for J defenses, best first; at the last image none is OPEN.

    Raises:
        ValueError: For another shape, values outside [0,1], and arguments out of their range.
    """
    values = require_outcomes(outcomes)
    require_confidence(confidence)
    defenses, seen = values.shape
    if total < seen:
        raise ValueError(f"expected a total of at least the {seen} images so far, but got {total}; pass the board's")
    pairs = list(combinations(range(defenses), 2))
    adjusted = holm(anytime_p_values(np.array([values[a] - values[b] for a, b in pairs]).reshape(len(pairs), seen)))
    p_values = dict(zip(pairs, adjusted.tolist(), strict=True))
    order = [int(one) for one in np.argsort(-values.mean(axis=1), kind="stable")]
    # Holm compares the next pair's p-value with alpha divided by the number of pairs that are left
    still = sum(p > 1 - confidence for p in p_values.values())
    found = []
    for better, worse in pairwise(order):
        p = p_values[min(better, worse), max(better, worse)]
        d = values[better] - values[worse]
        verdict, chance = Verdict.APART, 1.0
        if p > 1 - confidence:
            chance = _chance(d, total, (1 - confidence) / max(1, still))
            hopeless = seen == total or (seen >= FEW and chance < HARDLY)
            verdict = Verdict.FUTILE if hopeless else Verdict.OPEN
        found.append(Neighbours(better, worse, verdict, p, float(d.mean()), chance))
    return found


def _chance(d: Floats, total: int, alpha: float) -> float:
    """Return the probability that the pair is distinguished by the last image.

    The true difference is taken to be `OPTIMISM` standard errors larger than the observed one. The mean of all images
    is normal around the trend; to reach 1/alpha the mixture needs about sqrt(2 log(stakes/alpha)) standard errors, as
    half of the stakes have the wrong sign and few of the rest are near.
    """
    seen = d.size
    if seen == total:
        return 0.0
    # adds half a differing image in either direction, so that the spread is never zero
    spread = sqrt((float(((d - d.mean()) ** 2).sum()) + 0.5) / seen)
    drift = abs(float(d.mean())) + OPTIMISM * spread / sqrt(seen)
    expected = (abs(float(d.mean())) * seen + drift * (total - seen)) / total
    needed = spread * sqrt(2 * log(STAKES.size / 4 / alpha) / total)
    return float(ndtr((expected - needed) / (spread * sqrt(total - seen) / total)))
