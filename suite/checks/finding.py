"""Results of checks: each has p-values for "all is well" and "it is badly wrong", which are judged jointly.

Both p-values are anytime-valid, so the checks may be evaluated after every block of images and stopped at any time. A
sound evaluation fails any check with a probability of at most the level (Holm). An evaluation that violates a check by
`tolerance` passes this check with at most the same probability, and therefore also passes all checks, because all must
hold (Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from purebench.statistics import anytime_p_above, holm

Floats = npt.NDArray[np.float64]


class CheckStatus(StrEnum):
    """The result of a check or a claim.

    Attributes:
        HOLDS: the check holds.
        FAILS: the check fails.
        UNDECIDED: the images so far do not decide.
        NOT_APPLICABLE: the check does not apply to this defense.
    """

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the name of the check.
        result: the result.
        sentence: the observations, with their numbers.
    """

    name: str
    result: CheckStatus
    sentence: str


@dataclass(frozen=True)
class Suspicion:
    """The observations of a check before it is judged.

    Attributes:
        name: the name of the check.
        sentence: the observations, with their numbers.
        wrong: the p-value in [0,1] of "all is well", small if something is wrong; None if the check does not apply.
        right: the p-value in [0,1] of "it is wrong by at least the tolerance", small if nothing is wrong; None if the
            check does not apply.
    """

    name: str
    sentence: str
    wrong: float | None = None
    right: float | None = None


def certain(name: str, fault: str, else_: str = "") -> Suspicion:
    """Create a suspicion that needs no statistics.

    Args:
        name: the name of the check.
        fault: what is wrong; empty if nothing is.
        else_: why nothing is wrong.
    """
    return Suspicion(name, fault or else_, 0.0 if fault else 1.0, 1.0 if fault else 0.0)


def counted(name: str, sentence: str, values: Floats, well: float, tolerance: float) -> Suspicion:
    """Create a suspicion about a mean: at most `well`, or larger by at least `tolerance`.

    Args:
        name: the name of the check.
        sentence: the observations.
        values: values [n] in [0,1] in the board's order.
        well: the largest mean of a correct defense.
        tolerance: the violation that must be detected.
    """
    values = np.asarray(values, dtype=np.float64)
    return Suspicion(
        name, sentence, anytime_p_above(values, well), anytime_p_above(1 - values, max(0.0, 1 - well - tolerance))
    )


def compared(name: str, sentence: str, above: Floats, below: Floats, tolerance: float) -> Suspicion:
    """Create a suspicion about the mean of above - below: at most 0, or at least `tolerance`.

    Args:
        name: the name of the check.
        sentence: the observations.
        above: values [n] in [0,1] in the board's order.
        below: values [n] in [0,1] in the board's order.
        tolerance: the violation that must be detected.
    """
    return counted(name, sentence, (1 + above - below) / 2, 0.5, tolerance / 2)


def worst(suspicions: Sequence[Suspicion]) -> Suspicion:
    """Merge suspicions of one kind under the first one's name and sentence: any may be wrong, all must be right."""
    wrong = [one.wrong for one in suspicions if one.wrong is not None]
    right = [one.right for one in suspicions if one.right is not None]
    return replace(suspicions[0], wrong=min(1.0, len(wrong) * min(wrong)), right=max(right))


def judged(suspicions: Sequence[Suspicion], level: float) -> list[CheckResult]:
    """Judge all suspicions together.

    Args:
        suspicions: the suspicions of all checks.
        level: the largest probability of each kind of error, in (0,1).

    Returns:
        One finding for each suspicion.
    """
    adjusted = iter(holm([one.wrong for one in suspicions if one.wrong is not None]).tolist())
    found = []
    for one in suspicions:
        result, sentence = CheckStatus.NOT_APPLICABLE, one.sentence
        if one.wrong is not None and one.right is not None:
            wrong = next(adjusted)
            result = (
                CheckStatus.FAILS
                if wrong <= level
                else CheckStatus.HOLDS
                if one.right <= level
                else CheckStatus.UNDECIDED
            )
            sentence += f" (p {_p(wrong)}, Holm)" if result is CheckStatus.FAILS else ""
        found.append(CheckResult(one.name, result, sentence))
    return found


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 1e-4 else "< 0.0001"


def verdict(findings: Sequence[CheckResult]) -> CheckStatus:
    """Return FAILS if any finding fails, else UNDECIDED if any is undecided, else HOLDS."""
    results = {finding.result for finding in findings}
    return next((r for r in (CheckStatus.FAILS, CheckStatus.UNDECIDED) if r in results), CheckStatus.HOLDS)
