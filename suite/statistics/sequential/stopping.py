"""When a run may stop: an interval is short enough, or all neighbours are told apart, or more images would not help.

Everything here may be looked at after every image, or never, and stopped at for any reason: what it says is still true.

half-width   the betting sequence of each row (`betting_sequence`)
decided      a bet on every pair at once (`anytime`); Holm's correction makes it one for all pairs
futile       by stochastic curtailment (Lan, Simon & Halperin, Communications in Statistics C 1, 1982): even a
             difference somewhat larger than that of the images so far would hardly be seen by the last image. A futile
             stop rejects nothing, so it costs power and never errors.
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
"""Standard errors that futility adds to the difference seen so far, in favour of going on."""

HARDLY = 0.1
"""The chance of being told apart by the last image below which a pair is futile."""

FEW = 20
"""Images before which no pair is called futile."""


class Verdict(Enum):
    """What is known of a pair of neighbours."""

    APART = "apart"
    FUTILE = "futile"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two defenses that stand next to each other by mean.

    better, worse: their rows. p_value: valid at any time, Holm-corrected over all pairs. difference: of their means so
    far, >= 0. chance: of being told apart by the last image, 1 where they are.
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
    """Whether the interval of every row is at most `half_width` to either side.

    outcomes: [defenses, images so far] in [0,1], in the board's random order. half_width: a fraction in (0,1/2).
    together: whether all rows' intervals hold at once, each at its part of the error (Bonferroni), or each by itself.
    Raises ValueError for another shape, values outside [0,1], and arguments out of their range.
    """
    values = require_outcomes(outcomes)
    require_confidence(confidence)
    if not 0 < half_width < 0.5:
        raise ValueError(f"expected a half-width in (0, 0.5), but got {half_width!r}; 0.02 is two points")
    each = 1 - (1 - confidence) / values.shape[0] if together else confidence
    return bool((half_widths(values, each)[:, -1] <= half_width).all())


def half_widths(outcomes: npt.ArrayLike, confidence: float = 0.95) -> Floats:
    """[defenses, images]: half of each row's interval after each image, of the sequence, widened to hold the mean.

    outcomes: [defenses, images] in [0,1], in the board's random order. The entries up to t depend on the first t images
    alone. Raises ValueError for another shape, values outside [0,1], and a confidence outside (0,1).
    """
    values = require_outcomes(outcomes)
    found = np.empty_like(values)
    for row, into in zip(values, found, strict=True):
        low, high = betting_sequence(row, confidence)
        mean = np.cumsum(row) / np.arange(1, row.size + 1)
        into[:] = (np.maximum(high, mean) - np.minimum(low, mean)) / 2
    return found


def decided(outcomes: npt.ArrayLike, total: int, confidence: float = 0.95) -> list[Neighbours]:
    """Every pair of neighbours and what is known of it; a run may stop when none is OPEN.

    outcomes: [defenses, images so far] in [0,1], the same images for all, in the board's random order.
    total: the images there will be if the run is not stopped, at least those so far.
    confidence: in (0,1), that no two equally good defenses are called apart, however often one looks.
    Returns J - 1 pairs, best first; at the last image none is OPEN.
    Raises ValueError for another shape, values outside [0,1], and arguments out of their range.
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
    # Holm asks of the next pair that its p-value be alpha over the pairs that are left
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
    """The chance that by the last image the pair is told apart, if the true difference is `OPTIMISM` errors larger.

    The mean of all images is normal around the trend; to reach 1/alpha the mixture needs about
    sqrt(2 log(stakes/alpha)) standard errors, half of the stakes being on the wrong side and few of the rest near.
    """
    seen = d.size
    if seen == total:
        return 0.0
    # half a differing image either way, so that a spread of zero is never believed
    spread = sqrt((float(((d - d.mean()) ** 2).sum()) + 0.5) / seen)
    drift = abs(float(d.mean())) + OPTIMISM * spread / sqrt(seen)
    expected = (abs(float(d.mean())) * seen + drift * (total - seen)) / total
    needed = spread * sqrt(2 * log(STAKES.size / 4 / alpha) / total)
    return float(ndtr((expected - needed) / (spread * sqrt(total - seen) / total)))
