"""Tests that the commands printed on pages and in reports recreate the same board and jobs."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from purebench.boards.board import Board
from purebench.boards.replay import command, run_command
from purebench.boards.selection import choose
from purebench.cli.main import app
from purebench.execution import auto_effort

from boards import write_board  # isort: skip

DEFENSES = {"none": "none", "noise": "gaussian-noise(sigma=0.1)"}
ATTACKS = {"clean": {"use": "clean"}, "square": {"use": "square(queries=3)"}}


def call(line: str, *more: str) -> Any:
    words = shlex.split(line)
    assert words[0] == "purebench"
    return CliRunner().invoke(app, [*words[1:], *more], catch_exceptions=False)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Board]:
    """The boards that `purebench run` was called with; none is run."""

    class Enough(Exception):
        pass

    boards: list[Board] = []

    def run_at_effort(board: Board, *_: object, **__: object) -> None:
        boards.append(board)
        raise Enough

    def caught(line: str) -> None:
        with pytest.raises(Enough):
            call(line)

    monkeypatch.setattr(auto_effort, "run_at_effort", run_at_effort)
    boards_of = type("Boards", (list,), {"of": staticmethod(caught)})
    found = boards_of()
    boards = found
    return found  # type: ignore[no-any-return]


CHANGES: list[dict[str, Any]] = [
    {},
    {"images": 4},
    {"radius": "4/255"},
    {"radius": "0.05", "images": 8},
    {"until": ["half-width=0.1"]},
    {"until": ["decided", "half-width=0.125"], "max_images": 8},
    {"max_images": 4},
    {"cascade": True},
    {"precision": "bf16"},
    {"precision": "tf32", "channels_last": True},
    {"compiled": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("own", [False, True], ids=["bundled", "own"])
def test_the_run_command_recreates_the_board(tmp_path: Path, chosen: Any, changes: dict[str, Any], own: bool) -> None:
    if "max_images" in changes and not own:
        changes = changes | {"max_images": 24}
    name = str(write_board(tmp_path / "a folder", attacks=ATTACKS, defenses=DEFENSES)) if own else "fashion-quick"
    images, rest = changes.get("images"), {key: value for key, value in changes.items() if key != "images"}
    board = choose(name, None, images, **rest)
    line = run_command(board)
    chosen.of(line)
    assert chosen[-1] == board
    # A board from a store has the same command; the store keeps only its origin in addition.
    assert run_command(replace(board, origin=name)) == line
    if not own:
        assert run_command(replace(board, origin="")) == line


def test_the_run_command_names_a_row_by_its_spec(tmp_path: Path, chosen: Any) -> None:
    definition = write_board(tmp_path, attacks=ATTACKS)
    board = choose(str(definition), ["gaussian-blur(sigma=1.5)"], 4)
    chosen.of(run_command(board, board.shown[0].use))
    assert chosen[-1] == board


@pytest.mark.parametrize("own", [False, True], ids=["bundled", "own"])
@pytest.mark.parametrize("rows", [["none"], ["gaussian-blur(sigma=1.5)", "none"], ["mine.py:median"]], ids=str)
def test_the_run_command_of_a_board_has_its_rows_and_not_those_of_its_file(
    tmp_path: Path, chosen: Any, rows: list[str], own: bool
) -> None:
    """A run may leave out rows of the board's file, and add others with --defense."""
    name = str(write_board(tmp_path, attacks=ATTACKS, defenses=DEFENSES)) if own else "fashion-quick"
    board = choose(name, rows, 4)
    chosen.of(run_command(board))
    assert chosen[-1] == board


def test_the_run_command_of_a_board_names_rows_that_have_one_spec(tmp_path: Path, chosen: Any) -> None:
    board = choose(str(write_board(tmp_path, attacks=ATTACKS, defenses={"a": "none", "b": "none"})), None, 4)
    chosen.of(run_command(board))
    assert chosen[-1] == board


def test_an_object_in_memory_has_no_run_command(tmp_path: Path) -> None:
    from purebench.core.registry import Spec

    board = choose(str(write_board(tmp_path, attacks=ATTACKS)), None, 4)
    assert run_command(board, Spec("in-memory:x")).startswith("no command reproduces it")


def test_the_command_on_the_page_of_a_user_board_finds_all_jobs_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is copied from the pages of `run` and `show`, and finds all its jobs done."""
    monkeypatch.chdir(tmp_path)
    write_board(Path("my boards"), images=8, attacks=ATTACKS, defenses={"plain": "none"})
    first = ["my boards/board.yaml", "--images", "4", "--radius", "4/255", "--workers", "1", "--store", "s"]
    call(command("run", *first, page="run.html"))
    call(command("show", "small@4-255", store="s", page="show.html"))
    lines = []
    for page in ("run.html", "show.html"):
        html = Path(page).read_text(encoding="utf-8")
        lines += [unescape(line) for line in re.findall(r"Command</dt><dd><code>(.*?)</code>", html)]
    assert len(lines) == 2
    assert len(set(lines)) == 1
    assert "'my boards/board.yaml'" in lines[0]
    again = call(lines[0], "--store", "s", "--workers", "1")
    assert again.exit_code == 0
    assert "3/3 jobs, 0 jobs to run" in again.output


def test_options_become_command_line_arguments() -> None:
    line = command("run", "a b", until=["x", "y=1"], images=0, cascade=True, trust=False, page=None, store="")
    assert shlex.split(line) == [
        "purebench",
        "run",
        "a b",
        "--until",
        "x",
        "--until",
        "y=1",
        "--images",
        "0",
        "--cascade",
    ]
