"""Gathers what the grades of a board are computed from, from its results and those of the boards derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purebench.boards.derived.controls_board import CONTROLS, REFERENCES
from purebench.boards.derived.effort_board import EFFORT
from purebench.results.grading.control_scores import control_scores
from purebench.results.grading.convergence import convergences
from purebench.results.grading.evidence import ControlScore
from purebench.results.grading.failure_indicators import indicators
from purebench.results.grading.grade import GradeEvidence
from purebench.results.results import DefenseResult

Companions = Mapping[str, Sequence[DefenseResult]]
"""The results of the derived boards by their kind; kinds without results are missing."""


def scores_of(companions: Companions) -> list[ControlScore]:
    """Return the scores of the controls among the results of derived boards."""
    return control_scores(companions.get(CONTROLS, ()), companions.get(REFERENCES, ()))


def evidence_of(results: Sequence[DefenseResult], companions: Companions | None) -> GradeEvidence:
    """Return the evidence of a board.

    Args:
        results: the results of its rows.
        companions: the results of the boards derived from it; None for none.
    """
    companions = companions or {}
    ladders = companions.get(EFFORT, ())
    return GradeEvidence(scores_of(companions), convergences(results, ladders), indicators(results, ladders))
