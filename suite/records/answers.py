"""Collects the answers of a defense to each attack as the arrays that the statistics take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.records.outcome import ANSWERED as ANSWERED
from purebench.records.outcome import Outcome

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The answers of one defense.

    Attributes:
        right: Whether each draw was right, bool [attacks, images, draws]; an ERRORED one is wrong.
        counts: Whether each image counts, bool [attacks, images]; False where SKIPPED.
    """

    right: Bools
    counts: Bools


def gather(attacks: Iterable[tuple[Sequence[Outcome], Sequence[str]]], draws: int) -> Answers | None:
    """Collect the answers under each attack that applies to at least one image.

    Args:
        attacks: For each attack, the outcome of each image and its draws, as in a record.
        draws: Verification draws per image.

    Returns:
        The answers; None if no attack applies.
    """
    applying = [pair for pair in attacks if any(outcome is not Outcome.SKIPPED for outcome in pair[0])]
    if not applying:
        return None
    right = np.stack([right_answers(outcomes, answers, draws) for outcomes, answers in applying])
    counts = np.array([[outcome is not Outcome.SKIPPED for outcome in outcomes] for outcomes, _ in applying])
    return Answers(right, counts)


def right_answers(outcomes: Sequence[Outcome], answers: Sequence[str], draws: int) -> Bools:
    """Return whether each verification draw was right, bool [images, draws].

    Args:
        outcomes: The outcome of each image.
        answers: The draws of each image, as in a record.
        draws: Verification draws per image.

    Returns:
        bool [images, draws]; False where there is no answer.
    """
    table = np.zeros((len(outcomes), draws), dtype=np.bool_)
    for row, given, outcome in zip(table, answers, outcomes, strict=True):
        if outcome in ANSWERED:
            row[:] = [answer == "1" for answer in given]
    return table
