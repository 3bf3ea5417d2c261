"""What a check says: a suspicion with its p-value, judged together with those of the other checks (Holm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from purebench.statistics import holm


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

    p_value: of "all is well", in [0,1]; None where the check does not apply. seen: whether what was seen is not what
    an honest evaluation shows, by chance or not.
    """

    name: str
    p_value: float | None
    seen: bool
    sentence: str


def judged(suspicions: Sequence[Suspicion], level: float) -> list[Finding]:
    """A finding for each suspicion; the chance that any fails where all is well is at most `level`, in (0,1).

    What was seen but may be chance is UNDECIDED.
    """
    asked = [one.p_value for one in suspicions if one.p_value is not None]
    adjusted = iter(holm(asked).tolist())
    found = []
    for one in suspicions:
        result, sentence = Result.NOT_APPLICABLE, one.sentence
        if one.p_value is not None:
            p = next(adjusted)
            result = Result.FAILS if p <= level else Result.UNDECIDED if one.seen else Result.HOLDS
            sentence += f" (p = {p:.2g}, Holm)" if one.seen else ""
        found.append(Finding(one.name, result, sentence))
    return found


def verdict(findings: Sequence[Finding]) -> Result:
    """FAILS if any fails, else UNDECIDED if any is, else HOLDS."""
    results = {finding.result for finding in findings}
    return next((r for r in (Result.FAILS, Result.UNDECIDED) if r in results), Result.HOLDS)
