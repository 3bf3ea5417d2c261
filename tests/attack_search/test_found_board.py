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


def test_the_attack_of_a_search_is_bespoke_to_its_row_and_the_letter_says_that_it_leaves_less(
    tmp_path: Path,
) -> None:
    board = load_board(write_toy(tmp_path))
    before = ran(board, tmp_path / "s")
    report = report_of(board)
    path = tmp_path / "found.yaml"
    path.write_text(yaml.safe_dump(report.extended.board.to_dict(), sort_keys=False), encoding="utf-8")
    after = ran(load_board(path), tmp_path / "s")
    assert report.attack()["found"]["rows"] == ["shattered"]
    assert bespoke(before["shattered"]).letter is Letter.B
    told = bespoke(
        after["shattered"]
    )  # the attack leaves significantly less: the number is too high until it is common
    assert told.letter is Letter.D
    assert told.cure.startswith("found without rows in the board.yaml, then purebench run")
    assert bespoke(after["linear"]).letter is Letter.B
    assert {name: one.robust for name, one in after.items()} == {name: one.robust for name, one in before.items()}
    found = best_known(after["shattered"])
    assert found is not None
    assert found.value < 1  # the common suite breaks nothing


def with_attack(place: Path, **more: Any) -> Board:
    """Returns the toy board with an attack that equals `WINNER`."""
    equal = {"use": "apgd(steps=3)", "gradient": "estimated(samples=100)", **more}
    return load_board(write_toy(place, attacks={"clean": {"use": "clean"}, "mine": equal}))


def test_an_attack_that_the_board_has_already_is_not_added_and_the_report_says_so(tmp_path: Path) -> None:
    report = report_of(with_attack(tmp_path))
    found = report.extended
    assert found.existing
    assert [attack.name for attack in found.board.attacks] == ["clean", "mine"]
    assert "toy has this attack already, as mine" in report._existing()
    assert report.run_command(tmp_path / "out").endswith("--evidence")
    assert "board.yaml" not in report.run_command(tmp_path / "out")
    assert set(report.attack()) == {"mine"}


def test_an_equal_attack_of_other_rows_gets_the_row_and_one_of_random_rows_does_not_exclude_it(tmp_path: Path) -> None:
    for board, names in (
        (with_attack(tmp_path, rows=["linear"]), ["clean", "mine"]),
        (with_attack(tmp_path, only="random"), ["clean", "mine", "found"]),
    ):
        report = report_of(board)
        found = report.extended
        path = tmp_path / "found.yaml"
        path.write_text(yaml.safe_dump(found.board.to_dict(), sort_keys=False), encoding="utf-8")
        read = load_board(path)  # a board with two equal attacks is refused
        assert [attack.name for attack in read.attacks] == names
        assert found.attack.for_row("shattered")
        assert found.attack.only in ("all", "deterministic")
        assert not found.existing
    assert not report._existing()


@pytest.mark.parametrize(
    ("taken", "free"), [(("apgd",), "found"), (("found",), "found-2"), (("found", "found-2"), "found-3")]
)
def test_the_name_of_the_attack_is_one_that_the_board_does_not_have(
    tmp_path: Path, taken: tuple[str, ...], free: str
) -> None:
    attacks = {name: {"use": f"apgd(steps={steps})", "gradient": "exact"} for steps, name in enumerate(taken, 2)}
    report = report_of(load_board(write_toy(tmp_path, attacks=attacks)))
    assert [attack.name for attack in report.extended.board.attacks] == [*taken, free]
    assert set(report.attack()) == {free}
