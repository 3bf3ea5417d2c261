"""What is claimed of an accuracy, decided as soon as a confidence sequence allows it: pure functions of scores.

The interval holds at all times at once (`betting_sequence`), so one may look after every image and stop at any: a claim
that is wrong is called right with a probability of at most (1 - confidence) / 2, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.checks.finding import Result
from purebench.statistics import Estimate, interval, paired_difference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """Whether a claim holds after so many images, and the estimate that decided it."""

    result: Result
    estimate: Estimate


def at_least(scores: Floats, accuracy: float, confidence: float) -> Decision:
    """Whether the mean of scores [n] in [0,1], in the board's random order, is at least `accuracy`."""
    found = interval(scores, "betting-sequence", confidence)
    return Decision(_side(found, accuracy), found)


def not_worse(scores: Floats, others: Floats, margin: float, confidence: float) -> Decision:
    """Whether the mean of scores - others, [n] in [0,1] on the same images, is at least -margin."""
    found = paired_difference(scores, others, confidence, anytime=True)
    return Decision(_side(found, -margin), found)


def _side(found: Estimate, threshold: float) -> Result:
    if found.low >= threshold:
        return Result.HOLDS
    return Result.FAILS if found.high < threshold else Result.UNDECIDED
