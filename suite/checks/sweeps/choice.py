"""The rule that chooses the strength of a defense, so that no strength is chosen by hand.

Of the strengths that lose at most 10 points of clean accuracy against the undefended classifier, it takes the one
with the highest robust accuracy; of equal ones, the one with the smallest clean loss. If all lose more, it takes
the one that loses least.

Both are estimates on dev images. The board evaluates the chosen strength again, on its own images, so that the choice
does not bias the number of the board, however noisy it was. A rule on confidence limits would be no better: on 64
images, the upper 95 % limit of the clean loss is below 10 points only up to an estimated loss of about 3 points, so
that most strengths would be excluded because there are too few images. The uncertainty of the choice is reported beside
it: the strengths whose robust accuracy is not distinguished from that of the chosen one (paired tests, Holm), and
whether the interval of its clean loss contains the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from purebench.results.scores import comparable
from purebench.statistics import Estimate

LARGEST_CLEAN_LOSS = 0.1
"""Largest clean loss of a strength that is chosen, a fraction."""


class Candidate(Protocol):
    """A strength with the figures on which the rule decides."""

    @property
    def label(self) -> str:
        """The swept values in words."""

    @property
    def robust(self) -> Estimate | None:
        """Robust accuracy; None if it was not measured."""

    @property
    def clean_loss(self) -> Estimate | None:
        """Clean accuracy of the undefended classifier less that of the strength; None if it was not measured."""


@dataclass(frozen=True)
class Choice:
    """A chosen strength.

    Attributes:
        place: Its place among the candidates.
        reason: Why the rule chose it.
        within: Whether its clean loss is at most the limit.
    """

    place: int
    reason: str
    within: bool


def choose(candidates: Sequence[Candidate], largest: float = LARGEST_CLEAN_LOSS) -> Choice | None:
    """Return the strength that the rule chooses; None if none was measured.

    Args:
        candidates: The strengths of one family, in the order in which they are written.
        largest: Largest clean loss, a fraction in [0,1].
    """
    measured = {
        place: (comparable(one.robust.value), one.clean_loss)
        for place, one in enumerate(candidates)
        if one.robust is not None and one.clean_loss is not None
    }
    if not measured:
        return None
    admitted = [place for place, (_, loss) in measured.items() if comparable(loss.value - largest) <= 0]
    points = f"{100 * largest:g} points"
    if admitted:
        best = max(admitted, key=lambda place: (measured[place][0], -comparable(measured[place][1].value)))
        equal = sum(measured[place][0] == measured[best][0] for place in admitted)
        reason = _among(len(admitted), len(measured), equal, points)
    else:
        best = min(measured, key=lambda place: (comparable(measured[place][1].value), -measured[place][0]))
        reason = f"the smallest clean loss, because it is above {points} at every strength"
    loss = measured[best][1]
    if loss.low <= largest < loss.high:
        reason += f" (the interval of its clean loss contains {points})"
    return Choice(best, reason, bool(admitted))


def _among(admitted: int, measured: int, equal: int, points: str) -> str:
    if measured == 1:
        return f"the only strength; its clean loss is at most {points}"
    if admitted == 1:
        return f"the only strength with a clean loss of at most {points}"
    tie = f", and of {equal} equal ones the smallest clean loss" if equal > 1 else ""
    return f"the highest robust accuracy of the {admitted} strengths with a clean loss of at most {points}{tie}"
