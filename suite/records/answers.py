"""Collects the answers of a defense to each attack as the arrays that the statistics take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from purebench.records.outcome import ANSWERED as ANSWERED
from purebench.records.outcome import Outcome

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


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
    return stacked(
        (right_answers(outcomes, answers, draws), ~is_outcome(outcomes, Outcome.SKIPPED))
        for outcomes, answers in attacks
    )


def stacked(attacks: Iterable[tuple[Bools, Bools]]) -> Answers | None:
    """Stack the arrays of each attack that applies to at least one image.

    Args:
        attacks: For each attack, whether each draw was right, bool [images, draws], and whether each image counts, bool
            [images].

    Returns:
        The answers; None if no attack applies.
    """
    applying = [(right, counts) for right, counts in attacks if counts.any()]
    if not applying:
        return None
    return Answers(np.stack([right for right, _ in applying]), np.stack([counts for _, counts in applying]))


def is_outcome(outcomes: Sequence[Outcome] | Codes, *wanted: Outcome) -> Bools:
    """Return whether each outcome is one of those wanted, bool [images].

    Args:
        outcomes: The outcomes, or the result of `outcome_codes` for them.
        wanted: The outcomes to look for.
    """
    codes = outcomes if isinstance(outcomes, np.ndarray) else outcome_codes(outcomes)
    found = np.zeros(len(codes), dtype=np.bool_)
    for one in wanted:
        found |= codes == id(one)
    return found


def outcome_codes(outcomes: Sequence[Outcome]) -> Codes:
    """Return a number for each outcome, int [images], valid in this process; `is_outcome` compares them."""
    return np.fromiter(map(id, outcomes), np.intp, len(outcomes))


def right_answers(outcomes: Sequence[Outcome] | Codes, answers: Sequence[str], draws: int) -> Bools:
    """Return whether each verification draw was right, bool [images, draws].

    Args:
        outcomes: The outcome of each image, or the result of `outcome_codes` for them.
        answers: The draws of each image, as in a record.
        draws: Verification draws per image.

    Returns:
        bool [images, draws]; False where there is no answer.
    """
    if len(outcomes) != len(answers):
        raise ValueError(f"expected the draws of each of {len(outcomes)} images, but got {len(answers)}.")
    answered = is_outcome(outcomes, *ANSWERED)
    if answered.all():
        return _right(answers, draws)
    table = np.zeros((len(answered), draws), dtype=np.bool_)
    table[answered] = _right(list(compress(answers, answered)), draws)
    return table


def _right(answers: Sequence[str], draws: int) -> Bools:
    """Return whether each draw is "1", bool [images, draws]; ValueError if a string has another length."""
    lines = np.frombuffer("\n".join([*answers, ""]).encode(), np.uint8)
    whole = lines.size == len(answers) * (draws + 1)
    if not whole or (lines.reshape(-1, draws + 1)[:, draws] != ord("\n")).any():
        lengths = sorted(set(map(len, answers)) - {draws})
        raise ValueError(f"expected {draws} draws of each answered image, but got {lengths[0]}.")
    right: Bools = lines.reshape(-1, draws + 1)[:, :draws] == ord("1")
    return right
