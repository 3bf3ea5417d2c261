"""Tests the board that a search writes: its attack is bespoke to the row, which the grade of the row then states."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.report import BreakReport
from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.boards.selection import with_rows
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.results.grading.best_known import best_known
from purebench.results.grading.criteria.letters import Code, Letter, Reason
from purebench.results.grading.grade import grade
from purebench.results.merge import merge
from purebench.results.results import DefenseResult

from toy_board import write_toy  # isort: skip

WINNER = AttackCandidate((Step("apgd", {"steps": 3}, "estimated(samples=100)"),), "the gradient is zero everywhere")


def report_of(board: Board) -> BreakReport:
    """Returns the report of a search on the masked row of the board that found `WINNER`."""
    (row,) = (row for row in board.defenses if row.name == "shattered")
    given = {
        "board": with_rows(board, [row]),
        "original": board,
        "found": SimpleNamespace(winner=(WINNER, 1), halving=SimpleNamespace(scores={})),
        "random": False,
    }
    more: dict[str, Any] = {field.name: None for field in fields(BreakReport)}
    return BreakReport(**(more | given))


def ran(board: Board, store: Path) -> dict[str, DefenseResult]:
    return {one.name: one for one in merge(board, run_board(board, store, compute=Compute(workers=1))[1])}


def bespoke(result: DefenseResult) -> Reason:
    (reason,) = (reason for reason in grade(result).adequacy.reasons if reason.code is Code.BESPOKE)
    return reason


def test_the_attack_of_a_search_is_bespoke_to_its_row_and_raises_the_letter_that_names_the_search(
    tmp_path: Path,
) -> None:
    board = load_board(write_toy(tmp_path))
    before = ran(board, tmp_path / "s")
    report = report_of(board)
    path = tmp_path / "found.yaml"
    path.write_text(yaml.safe_dump(report.extended().to_dict(), sort_keys=False), encoding="utf-8")
    after = ran(load_board(path), tmp_path / "s")
    assert report.attack()["found"]["rows"] == ["shattered"]
    assert bespoke(before["shattered"]).letter is Letter.B
    assert bespoke(after["shattered"]).letter is Letter.A
    assert bespoke(after["linear"]).letter is Letter.B
    assert {name: one.robust for name, one in after.items()} == {name: one.robust for name, one in before.items()}
    found = best_known(after["shattered"])
    assert found is not None
    assert found.value < 1  # the common suite breaks nothing


@pytest.mark.parametrize(
    ("taken", "free"), [(("apgd",), "found"), (("found",), "found-2"), (("found", "found-2"), "found-3")]
)
def test_the_name_of_the_attack_is_one_that_the_board_does_not_have(
    tmp_path: Path, taken: tuple[str, ...], free: str
) -> None:
    attacks = {name: {"use": f"apgd(steps={steps})", "gradient": "exact"} for steps, name in enumerate(taken, 2)}
    report = report_of(load_board(write_toy(tmp_path, attacks=attacks)))
    assert [attack.name for attack in report.extended().attacks] == [*taken, free]
    assert set(report.attack()) == {free}
