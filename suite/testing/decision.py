"""Decides claims about an accuracy as soon as a confidence sequence allows it: pure functions of scores.

The interval holds at all times at once (`betting_sequence`), so it may be inspected after every image, and the run may
stop at any image: a false claim is accepted with a probability of at most (1 - confidence) / 2, and a true claim is
rejected with at most the same probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.checks.finding import CheckStatus
from purebench.statistics import Estimate, interval, paired_difference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """The decision on a claim.

    Attributes:
        result: Whether the claim holds, fails or is undecided.
        estimate: The estimate that decided it.
        otherwise: The estimate with images that ERRORED counted the other way; None if there are none.
    """

    result: CheckStatus
    estimate: Estimate
    otherwise: Estimate | None = None


def at_least(scores: Floats, accuracy: float, confidence: float) -> Decision:
    """Decide whether a mean is at least a given accuracy.

    Args:
        scores: [n] in [0,1], in the board's random order.
        accuracy: The claimed lower limit of the mean, in [0,1].
        confidence: Of the decision, in (0,1).

    Returns:
        The decision, with the estimate of the mean.
    """
    found = interval(scores, "betting-sequence", confidence)
    return Decision(_side(found, accuracy), found)


def at_most(scores: Floats, accuracy: float, confidence: float) -> Decision:
    """Decide whether a mean is at most a given accuracy.

    Args:
        scores: [n] in [0,1], in the board's random order.
        accuracy: The claimed upper limit of the mean, in [0,1].
        confidence: Of the decision, in (0,1).

    Returns:
        The decision, with the estimate of the mean.
    """
    found = interval(scores, "betting-sequence", confidence)
    holds = CheckStatus.HOLDS if found.high <= accuracy else CheckStatus.UNDECIDED
    return Decision(CheckStatus.FAILS if found.low > accuracy else holds, found)


def not_worse(scores: Floats, others: Floats, margin: float, confidence: float) -> Decision:
    """Decide whether the mean of scores - others is at least -margin.

    Args:
        scores: [n] in [0,1], in the board's random order.
        others: [n] in [0,1], on the same images.
        margin: Largest difference that is accepted, a fraction.
        confidence: Of the decision, in (0,1).

    Returns:
        The decision, with the estimate of the mean difference.
    """
    found = paired_difference(scores, others, confidence, anytime=True)
    return Decision(_side(found, -margin), found)


def _side(found: Estimate, threshold: float) -> CheckStatus:
    if found.low >= threshold:
        return CheckStatus.HOLDS
    return CheckStatus.FAILS if found.high < threshold else CheckStatus.UNDECIDED
