"""Gathers what the grades of a board are computed from, from its results and those of the boards derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from purebench.boards.derived.controls_board import CONTROLS, REFERENCES
from purebench.boards.derived.effort_board import EFFORT
from purebench.results.grading.control_scores import score_controls
from purebench.results.grading.convergence import convergences
from purebench.results.grading.failure_indicators import indicators
from purebench.results.grading.grade import GradeEvidence
from purebench.results.grading.same_jobs import same_attacks, same_defense, same_settings
from purebench.results.results import DefenseResult

if TYPE_CHECKING:
    from purebench.boards.board import Board

Companions = Mapping[str, Sequence[DefenseResult]]
"""The results of the derived boards by their kind; kinds without results are missing."""
NO_COMPANIONS: Companions = {}


def evidence_of(
    results: Sequence[DefenseResult], companions: Companions | None, declared: Sequence[str] = ()
) -> GradeEvidence:
    """Return the evidence of a board.

    Of the results of derived boards, those of other code, weights or settings than a row's are no evidence about it.

    Args:
        results: the results of its rows.
        companions: the results of the boards derived from it; None for none.
        declared: the names of the controls that the board declares; those of the results without any.
    """
    companions = companions or {}
    controls = [one for one in companions.get(CONTROLS, ()) if not declared or one.name in declared]
    stale = {row.name: {one.name for one in controls if not same_attacks(row, one)} for row in results}
    current = [one for one in controls if not results or any(one.name not in names for names in stale.values())]
    scored = score_controls(current, companions.get(REFERENCES, ()), declared)
    ladders = ladders_of(results, companions.get(EFFORT, ()))
    found = convergences(results, ladders)
    return GradeEvidence(scored.scores, found, indicators(results, ladders, found), scored.unscored, stale)


def ladders_of(results: Sequence[DefenseResult], ladders: Sequence[DefenseResult]) -> list[DefenseResult]:
    """Return the results on the board of the ladder that are those of the rows as they are now."""
    rows = {row.name: row for row in results}
    return [one for one in ladders if one.name in rows and same_defense(rows[one.name], one)]


def fitting(results: Sequence[DefenseResult], companions: Companions) -> dict[str, list[DefenseResult]]:
    """Return the results of derived boards that have the settings of the board of the rows; {} without rows.

    Args:
        results: the results of the rows.
        companions: the results of derived boards, of any settings.
    """
    if not results:
        return {}
    board = results[0].board
    kept = {kind: [one for one in found if same_settings(board, one.board, kind)] for kind, found in companions.items()}
    return {kind: found for kind, found in kept.items() if found}


def joined(new: Companions, earlier: Companions) -> dict[str, Sequence[DefenseResult]]:
    """Return the results of a run and, of those of earlier runs, those that it lacks.

    Controls and their references belong together, so that they come from one run.

    Args:
        new: the results of derived boards of this run.
        earlier: those of earlier runs.
    """
    of_controls = new if new.get(CONTROLS) else earlier
    found = {kind: of_controls[kind] for kind in (CONTROLS, REFERENCES) if kind in of_controls}
    ladders = {one.name: one for one in (*earlier.get(EFFORT, ()), *new.get(EFFORT, ()))}
    return found | ({EFFORT: list(ladders.values())} if ladders else {})


def declared_controls(board: Board) -> list[str]:
    """Return the names of the controls of a board."""
    return [control.name for control in board.controls]
