"""Grades evaluations: how far the robust accuracy of a row can be believed.

A grade is a deterministic function of a result and of the evidence beside it. It has three letters, each the worst of
its criteria (see `thresholds`), and the overall letter is the worst of the three, never an average. It grades the
evaluation and not the defense: an undefended classifier that is broken everywhere can have an A.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from purebench.core.warning_codes import ResultWarning
from purebench.results.gradient_masking import doubts
from purebench.results.grading.criteria.adequacy import adequacy
from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.integrity import integrity
from purebench.results.grading.criteria.letters import Grade
from purebench.results.grading.criteria.precision import precision
from purebench.results.grading.evidence import ControlScore, Convergence, UnscoredControl
from purebench.results.results import DefenseResult


@dataclass(frozen=True)
class GradeEvidence:
    """The evidence about the attacks of a board beside the results of its rows.

    Attributes:
        controls: the scores of its control rows; empty if none were run.
        convergence: the convergence of its rows by name; rows without it were not measured.
        indicators: indicators of attack failure of its rows by name.
        unscored: controls of the board without a score.
        stale: for each row the names of the controls that other code attacked, which are no evidence about it.
    """

    controls: Sequence[ControlScore] = ()
    convergence: Mapping[str, Convergence] = field(default_factory=dict)
    indicators: Mapping[str, Sequence[ResultWarning]] = field(default_factory=dict)
    unscored: Sequence[UnscoredControl] = ()
    stale: Mapping[str, Collection[str]] = field(default_factory=dict)

    def controls_of(self, row: str) -> list[ControlScore]:
        """Return the scores of the controls that the attacks of a row were run on."""
        stale = self.stale.get(row, ())
        return [one for one in self.controls if one.name not in stale]

    def warnings(self, result: DefenseResult) -> tuple[ResultWarning, ...]:
        """Return the warnings of a row: of gradient masking, then the indicators that have other codes."""
        known = () if result.failed else doubts(result)
        codes = {warning.code for warning in known}
        return (*known, *(one for one in self.indicators.get(result.name, ()) if one.code not in codes))


NO_EVIDENCE = GradeEvidence()


def grade(
    result: DefenseResult,
    *,
    controls: Sequence[ControlScore] = (),
    convergence: Convergence | None = None,
    warnings: Sequence[ResultWarning] | None = None,
    unscored: Sequence[UnscoredControl] = (),
    origin: str = "",
) -> Grade:
    """Grade the evaluation of one defense.

    Args:
        result: the result of the defense.
        controls: the scores of the controls of the board, which the same attacks were run on; empty if there are none.
        convergence: the convergence of the row; None if it was not measured.
        warnings: the warnings of the row; None for those of its own result.
        unscored: controls of the board without a score.
        origin: the board as the user named it, for the commands; "" if that is not known.

    Returns:
        The three letters with their reasons.
    """
    cures = Cures(result, origin)
    warnings = NO_EVIDENCE.warnings(result) if warnings is None else warnings
    return Grade(
        integrity=integrity(result, warnings, controls, cures),
        adequacy=adequacy(result, warnings, controls, unscored, convergence, cures),
        precision=precision(result, cures),
    )


def graded(result: DefenseResult, evidence: GradeEvidence = NO_EVIDENCE, origin: str = "") -> Grade:
    """Grade the evaluation of one row of a board.

    Args:
        result: the result of the row.
        evidence: the evidence of the board.
        origin: the board as the user named it.
    """
    return grade(
        result,
        controls=evidence.controls_of(result.name),
        unscored=evidence.unscored,
        convergence=evidence.convergence.get(result.name),
        warnings=evidence.warnings(result),
        origin=origin,
    )


def grades(
    results: Iterable[DefenseResult], evidence: GradeEvidence = NO_EVIDENCE, origin: str = ""
) -> dict[str, Grade]:
    """Return the grade of each row of a board, by its name.

    Args:
        results: the results of the rows.
        evidence: the evidence of the board.
        origin: the board as the user named it.
    """
    return {result.name: graded(result, evidence, origin) for result in results}
