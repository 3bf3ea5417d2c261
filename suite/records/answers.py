"""Collects the answers of a defense to each attack as the arrays that the statistics take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import is_

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
    applying = [(outcomes, answers, ~is_outcome(outcomes, Outcome.SKIPPED)) for outcomes, answers in attacks]
    applying = [found for found in applying if found[2].any()]
    if not applying:
        return None
    right = np.stack([right_answers(outcomes, answers, draws) for outcomes, answers, _ in applying])
    return Answers(right, np.stack([counts for _, _, counts in applying]))


def is_outcome(outcomes: Sequence[Outcome], *wanted: Outcome) -> Bools:
    """Return whether each outcome is one of those wanted, bool [images]."""
    found = np.zeros(len(outcomes), dtype=np.bool_)
    for one in wanted:
        found |= np.fromiter(map(is_, outcomes, repeat(one)), np.bool_, len(outcomes))
    return found


def right_answers(outcomes: Sequence[Outcome], answers: Sequence[str], draws: int) -> Bools:
    """Return whether each verification draw was right, bool [images, draws].

    Args:
        outcomes: The outcome of each image.
        answers: The draws of each image, as in a record.
        draws: Verification draws per image.

    Returns:
        bool [images, draws]; False where there is no answer.
    """
    if len(outcomes) != len(answers):
        raise ValueError(f"expected the draws of each of {len(outcomes)} images, but got {len(answers)}.")
    table = np.zeros((len(outcomes), draws), dtype=np.bool_)
    answered = is_outcome(outcomes, *ANSWERED)
    given = answers if answered.all() else list(compress(answers, answered))
    if other := set(map(len, given)) - {draws}:
        raise ValueError(f"expected {draws} draws of each answered image, but got {min(other)}.")
    table[answered] = np.frombuffer("".join(given).encode(), np.uint8).reshape(-1, draws) == ord("1")
    return table
