"""Defines a claim of a test and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from purebench.checks.finding import CheckResult, CheckStatus
from purebench.core.warning_codes import ResultWarning
from purebench.results.grading.criteria.letters import Letter
from purebench.statistics import Estimate


@dataclass(frozen=True)
class Claim:
    """A claim and its result.

    Attributes:
        text: The claim in words.
        result: Whether it holds, fails or is undecided.
        estimate: Of the accuracy or difference claimed, None where nothing is known.
        images: Number of images that were evaluated.
        message: The full report.
        strongest: The attack with the lowest accuracy, if any.
        findings: Results of the checks of `honest`.
        warnings: Reasons why the accuracy may be too high.
        grade: The letter of the evaluation without that of its precision, which the claim's own interval replaces; None
            for claims about clean images and for `honest`.
        undecided: Effect of an undecided claim on the test: fail, skip or warn.
    """

    text: str
    result: CheckStatus
    estimate: Estimate | None
    images: int
    message: str
    strongest: str | None = None
    findings: Sequence[CheckResult] = ()
    warnings: Sequence[ResultWarning] = ()
    grade: Letter | None = None
    undecided: str = field(default="fail", compare=False)
