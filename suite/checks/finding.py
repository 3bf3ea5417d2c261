"""What a check says: two p-values, of "all is well" and of "it is badly wrong", judged with those of the other checks.

Both are valid at any time, so one may look after every block of images and stop at any. A sound evaluation fails any
check with a probability of at most the level (Holm); one that a check sees to be wrong by `tolerance` passes that check
with at most the same probability, and so all of them, because all must hold (Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from purebench.statistics import anytime_p_above, holm

Floats = npt.NDArray[np.float64]


class Result(StrEnum):
    """What became of a check or a claim; NOT_APPLICABLE: it has nothing to ask of this defense."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    """A check's result. sentence: what was seen, with its numbers."""

    name: str
    result: Result
    sentence: str


@dataclass(frozen=True)
class Suspicion:
    """What a check saw before it is judged.

    wrong, right: p-values in [0,1] of "all is well" and of "it is wrong by the tolerance at least"; the first is small
    where something is wrong, the second where nothing is. None where the check does not apply.
    """

    name: str
    sentence: str
    wrong: float | None = None
    right: float | None = None


def certain(name: str, fault: str, else_: str = "") -> Suspicion:
    """Of what needs no counting: `fault` says what is wrong; where it is empty all is well, and `else_` says why."""
    return Suspicion(name, fault or else_, 0.0 if fault else 1.0, 1.0 if fault else 0.0)


def counted(name: str, sentence: str, values: Floats, well: float, tolerance: float) -> Suspicion:
    """Of the mean of values [n] in [0,1] in the board's order: `well` at most, or more by `tolerance` at least."""
    values = np.asarray(values, dtype=np.float64)
    return Suspicion(
        name, sentence, anytime_p_above(values, well), anytime_p_above(1 - values, max(0.0, 1 - well - tolerance))
    )


def compared(name: str, sentence: str, above: Floats, below: Floats, tolerance: float) -> Suspicion:
    """Of the mean of above - below, [n] in [0,1] each: 0 at most, or `tolerance` at least."""
    return counted(name, sentence, (1 + above - below) / 2, 0.5, tolerance / 2)


def worst(suspicions: Sequence[Suspicion]) -> Suspicion:
    """One of several of a kind, under the first one's name and sentence: any may be wrong, all must be right."""
    wrong = [one.wrong for one in suspicions if one.wrong is not None]
    right = [one.right for one in suspicions if one.right is not None]
    return replace(suspicions[0], wrong=min(1.0, len(wrong) * min(wrong)), right=max(right))


def judged(suspicions: Sequence[Suspicion], level: float) -> list[Finding]:
    """A finding for each suspicion; either kind of error has a probability of at most `level`, in (0,1)."""
    adjusted = iter(holm([one.wrong for one in suspicions if one.wrong is not None]).tolist())
    found = []
    for one in suspicions:
        result, sentence = Result.NOT_APPLICABLE, one.sentence
        if one.wrong is not None and one.right is not None:
            wrong = next(adjusted)
            result = Result.FAILS if wrong <= level else Result.HOLDS if one.right <= level else Result.UNDECIDED
            sentence += f" (p = {wrong:.2g}, Holm)" if result is Result.FAILS else ""
        found.append(Finding(one.name, result, sentence))
    return found


def verdict(findings: Sequence[Finding]) -> Result:
    """FAILS if any fails, else UNDECIDED if any is, else HOLDS."""
    results = {finding.result for finding in findings}
    return next((r for r in (Result.FAILS, Result.UNDECIDED) if r in results), Result.HOLDS)
