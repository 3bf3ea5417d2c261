"""What a defense answered, attack by attack, as the arrays that the statistics take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.records.record import ANSWERED as ANSWERED
from purebench.records.record import Outcome

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The answers of one defense.

    right: bool [attacks, images, draws]; an ERRORED one is wrong. counts: bool [attacks, images], False where SKIPPED.
    """

    right: Bools
    counts: Bools


def gather(attacks: Iterable[tuple[Sequence[Outcome], Sequence[str]]], draws: int) -> Answers | None:
    """The answers under each attack that applies to some image: outcomes and draws, one an image, as in a record.

    draws: verification draws an image. None where no attack applies.
    """
    applying = [pair for pair in attacks if any(outcome is not Outcome.SKIPPED for outcome in pair[0])]
    if not applying:
        return None
    right = np.stack([right_answers(outcomes, answers, draws) for outcomes, answers in applying])
    counts = np.array([[outcome is not Outcome.SKIPPED for outcome in outcomes] for outcomes, _ in applying])
    return Answers(right, counts)


def right_answers(outcomes: Sequence[Outcome], answers: Sequence[str], draws: int) -> Bools:
    """Whether each verification draw was right, [images, draws]; False where there is no answer."""
    table = np.zeros((len(outcomes), draws), dtype=np.bool_)
    for row, given, outcome in zip(table, answers, outcomes, strict=True):
        if outcome in ANSWERED:
            row[:] = [answer == "1" for answer in given]
    return table
