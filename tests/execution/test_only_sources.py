"""Tests of only sources: rows that are run only for their adversarial examples and are not shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from purebench.boards.board import Board, Source
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.leaderboards.page import render
from purebench.leaderboards.terminal import print_board
from purebench.records import store
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.results.files.export import as_json
from purebench.results.merge import merge

from boards import write_board  # isort: skip

ATTACKS = {
    "clean": {"use": "clean"},
    "apgd": {"use": "apgd(steps=3)", "gradient": "exact"},
    "square": {"use": "square(queries=3)"},
    "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
}


def chosen(folder: Path, rows: list[str], *, cascade: bool = False) -> Board:
    return choose(str(write_board(folder, images=4, attacks=ATTACKS, cascade=cascade)), rows, None)


def jobs(board: Board) -> dict[tuple[str, str], str]:
    return {(job.defense.name, job.label): job.key for job in prepare(board).jobs()}


def test_an_only_source_runs_only_the_reused_attack(tmp_path: Path) -> None:
    asked = jobs(chosen(tmp_path, ["noise"]))
    assert [name for name in asked if name[0] == "none"] == [("none", "apgd")]
    assert {name[1] for name in asked if name[0] == "noise"} == {*ATTACKS, WORST_CASE}


def test_in_a_cascade_an_only_source_also_runs_the_attacks_before_it(tmp_path: Path) -> None:
    asked = jobs(chosen(tmp_path, ["noise"], cascade=True))
    assert [name for name in asked if name[0] == "none"] == [("none", "clean"), ("none", "apgd")]


@pytest.mark.parametrize("cascade", [False, True])
def test_selected_rows_have_the_keys_of_the_whole_board(tmp_path: Path, cascade: bool) -> None:
    whole = jobs(load_board(write_board(tmp_path, images=4, attacks=ATTACKS, cascade=cascade)))
    asked = jobs(chosen(tmp_path, ["noise"], cascade=cascade))
    assert asked.items() < whole.items()


def test_a_selected_source_is_a_full_row(tmp_path: Path) -> None:
    both = chosen(tmp_path, ["noise", "none"])
    assert both.shown == both.defenses
    assert len(jobs(both)) == 10
    assert "only_sources" not in both.to_dict()


def test_an_only_source_is_not_shown_and_changes_no_result(tmp_path: Path) -> None:
    board = chosen(tmp_path, ["noise"])
    _, records = run_board(board, tmp_path / "s", workers=1)
    (found,) = merge(board, records)
    with store.reading(tmp_path / "s") as saved:
        shown = parse_board(saved.plans()["small"][0])
    assert shown == board
    file = io.StringIO()
    print_board(shown, [found], Console(file=file, width=100))
    assert "no finished block" not in file.getvalue()
    assert "No finished block" not in render(shown, [found], tuple("abcdefghij"), {})
    whole = load_board(write_board(tmp_path, images=4, attacks=ATTACKS))
    _, all_records = run_board(whole, tmp_path / "s", workers=1)
    same = next(result for result in merge(whole, all_records) if result.name == "noise")
    assert as_json(found.to_dict()) == as_json(same.to_dict())
    assert {result.name for result in merge(whole, all_records)} == {"none", "noise", "coin"}


def test_only_sources_survive_conversion_to_a_dict(tmp_path: Path) -> None:
    board = chosen(tmp_path, ["noise"])
    plain = board.to_dict()
    assert plain["only_sources"] == ["none"]
    assert parse_board(plain) == board
    assert (
        parse_board({**plain, "only_sources": []}).shown
        == replace(board, defenses=tuple(replace(row, only_source=False) for row in board.defenses)).defenses
    )


@pytest.mark.parametrize(
    ("value", "message"), [("none", "expected a list"), (["coin"], "an attack reuses, but got 'coin'"), ([1], "got 1;")]
)
def test_invalid_only_sources_are_rejected(tmp_path: Path, value: object, message: str) -> None:
    plain = chosen(tmp_path, ["noise"]).to_dict()
    with pytest.raises(PurebenchError, match=message):
        parse_board({**plain, "only_sources": value})


MARGIN = {
    "clean": {"use": "clean"},
    "square": {"use": "square(queries=3)"},
    "margin": {"use": "apgd(steps=2, loss=cw, stop=false)", "gradient": "exact", "only": "source"},
    "transfer-none": {"use": "transfer", "source": {"defense": "none", "attack": "margin"}},
}


@pytest.mark.parametrize("cascade", [False, True])
def test_a_source_only_attack_runs_only_where_its_images_are_reused(tmp_path: Path, cascade: bool) -> None:
    """In a cascade it also runs on all images, because other rows reuse images that they have not broken yet."""
    board = load_board(write_board(tmp_path, images=4, attacks=MARGIN, cascade=cascade))
    _, records = run_board(board, tmp_path / "s", workers=1)
    outcomes = {(one.defense, one.attack): one.outcomes for one in records}
    assert Outcome.SKIPPED not in outcomes["none", "margin"]
    assert set(outcomes["noise", "margin"]) == set(outcomes["coin", "margin"]) == {Outcome.SKIPPED}
    assert Outcome.ERRORED not in outcomes["noise", "transfer-none"]
    page = render(board, merge(board, records), tuple("abcdefghij"), {})
    assert ">margin</button>" not in page
    assert ">transfer-none" in page


def test_the_key_of_a_source_only_attack_depends_on_whether_it_is_reused(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=4, attacks=MARGIN))
    attacks = [replace(one, source=one.source and Source("noise", "margin")) for one in board.attacks]
    one, other = jobs(board), jobs(replace(board, attacks=tuple(attacks)))
    changed = {row for row, attack in one if attack == "margin" and one[row, attack] != other[row, attack]}
    assert changed == {"none", "noise"}


def test_a_source_only_attack_that_is_never_reused_is_rejected(tmp_path: Path) -> None:
    alone = {name: value for name, value in MARGIN.items() if name != "transfer-none"}
    with pytest.raises(
        PurebenchError, match=r"attacks\.margin\.only: expected another attack that reuses the images of this one"
    ):
        load_board(write_board(tmp_path, images=4, attacks=alone))
