"""Tests that a run of one row keeps the complete rows of the earlier run in `show` if their keys are current."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.execution.board_run import run_board
from purebench.records import store
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge

from boards import write_board  # isort: skip

ATTACKS = {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=1)", "gradient": "exact"}}
DEFENSE = """
import torch
from purebench import Function

SHARE = {share}

def dim():
    weights = torch.load({weights!r})
    purifier = Function(lambda x: SHARE * x, random=False)
    purifier.register_buffer("weights", weights)
    return purifier
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a board of three rows after a run; the row `dim` has a code file and a weights file."""
    monkeypatch.chdir(tmp_path)
    write_code(tmp_path, 0.9)
    write_weights(tmp_path, 0.0)
    defenses = {"none": "none", "dim": "dim.py:dim", "blur": "gaussian-blur(sigma=1)"}
    write_board(tmp_path, images=4, attacks=ATTACKS, defenses=defenses)
    run()
    return tmp_path


def write_code(folder: Path, share: float) -> None:
    text = DEFENSE.format(share=share, weights=str(folder / "weights.pt"))
    (folder / "dim.py").write_text(text, encoding="utf-8")


def write_weights(folder: Path, value: float) -> None:
    torch.save(torch.tensor(value), folder / "weights.pt")


def run(*words: str) -> None:
    done = CliRunner().invoke(app, ["run", "board.yaml", "--store", "s", "--workers", "1", *words])
    assert done.exit_code == 0, done.output


def listed(folder: Path) -> list[str]:
    board, records = from_store(folder / "s", "small")
    return [result.name for result in merge(board, records)]


def test_rows_of_earlier_runs_are_kept_in_order(folder: Path) -> None:
    run("-d", "blur")
    assert listed(folder) == ["none", "dim", "blur"]
    run("-d", "median")
    assert listed(folder) == ["none", "dim", "blur", "median"]
    shown = CliRunner().invoke(app, ["show", "small", "--store", "s"]).stdout
    assert all(name in shown for name in ("none", "dim", "blur", "median"))


def test_a_row_whose_code_changed_is_left_out(folder: Path) -> None:
    write_code(folder, 0.8)
    run("-d", "none")
    assert listed(folder) == ["none", "blur"]
    write_code(folder, 0.9)  # its records are in the store, but no longer in the plan
    run("-d", "dim")
    assert listed(folder) == ["none", "blur", "dim"]


def test_a_row_whose_weights_changed_is_left_out(folder: Path) -> None:
    write_weights(folder, 1.0)
    run("-d", "none")
    assert listed(folder) == ["none", "blur"]


def test_a_row_whose_file_is_missing_is_left_out_and_the_run_continues(folder: Path) -> None:
    (folder / "dim.py").unlink()
    run("-d", "none")
    assert listed(folder) == ["none", "blur"]


def test_rows_on_other_images_are_left_out(folder: Path) -> None:
    run("-d", "none", "--images", "2")
    assert listed(folder) == ["none"]


def test_an_incomplete_row_is_left_out(folder: Path) -> None:
    _, records = from_store(folder / "s", "small")
    with store.writing(folder / "s") as saved:
        saved.remove([next(record.key for record in records if record.defense == "dim")])
    run("-d", "none")
    assert listed(folder) == ["none", "blur"]


def test_run_board_does_not_keep_earlier_rows_by_default(folder: Path) -> None:
    """Robustness assertions run many boards of one row; each board would build the rows of the earlier ones."""
    board = load_board(folder / "board.yaml")
    run_board(replace(board, defenses=board.defenses[:1]), folder / "s", workers=1)
    assert listed(folder) == ["none"]


def test_a_source_that_was_a_row_remains_a_row(folder: Path) -> None:
    """A run of `blur` needs only the images of `none`, which was a full row in the earlier run."""
    attacks = {**ATTACKS, "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}}}
    rows = {"none": "none", "blur": "gaussian-blur(sigma=1)"}
    write_board(folder, images=4, attacks=attacks, defenses=rows)
    run()
    run("-d", "blur")
    assert listed(folder) == ["none", "blur"]


def show(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--store", "s"])


def test_rows_on_another_number_of_images_are_named_with_the_command_that_lists_them(folder: Path) -> None:
    run("-d", "blur", "--images", "2")
    told = show("show", "small").stdout
    assert "not listed: none, dim, blur, evaluated on 4 images instead of 2" in told
    command = shlex.split(told.strip().rpartition("this command lists them: ")[2])
    assert CliRunner().invoke(app, command[1:]).exit_code == 0
    assert listed(folder) == ["none", "dim", "blur"]
    assert "not listed" not in show("show", "small").output  # `blur` on 2 of these images is part of the listed row


def test_rows_are_listed_again_by_a_later_run_on_their_images(folder: Path) -> None:
    run("-d", "none", "--images", "2")
    run("-d", "median")
    assert listed(folder) == ["none", "dim", "blur", "median"]
    assert "not listed" not in show("show", "small").output


def test_run_export_and_compare_name_the_rows_that_are_not_listed(folder: Path) -> None:
    done = CliRunner().invoke(app, ["run", "board.yaml", "--store", "s", "--images", "2", "-d", "none", "-d", "median"])
    exported = show("export", "small", "--format", "csv")
    compared = show("compare", "none", "median", "--board", "small")
    for one in (done, exported, compared):
        assert one.exit_code == 0, one.output
        assert "not listed: none, dim, blur, evaluated on 4 images instead of 2" in one.stderr


def test_the_list_of_boards_and_the_table_say_how_many_rows_have_other_settings(folder: Path) -> None:
    run("-d", "none", "--images", "2")
    assert "; 3 rows of other settings" in show("show").stdout
    assert "3 rows not listed: " in show("show", "small").stdout


def test_a_changed_row_is_named(folder: Path) -> None:
    write_code(folder, 0.8)
    run("-d", "none")
    assert (
        "not listed: dim (unfinished, or changed since the run); this command lists it" in show("show", "small").stdout
    )


def test_a_board_is_accepted_by_name_and_by_path(folder: Path) -> None:
    for board in ("small", "board.yaml"):
        assert show("show", board).exit_code == 0
        assert show("export", board, "--format", "csv").exit_code == 0
        assert show("compare", "none", "dim", "--board", board).exit_code == 0


def test_a_bundled_board_that_was_not_run_is_named_with_the_command_that_runs_it(folder: Path) -> None:
    told = str(show("show", "fashion-linf").exception)
    assert "the board 'fashion-linf' has not been run with this store" in told
    assert "purebench run fashion-linf --store s" in told


def test_more_images_than_the_board_has_lengthen_it_and_are_mentioned(folder: Path) -> None:
    told = CliRunner().invoke(app, ["run", "board.yaml", "--store", "s", "-d", "none", "--images", "5"]).stderr
    assert "--images 5 lengthens small, which has 4 images" in told
    told = CliRunner().invoke(app, ["plan", "board.yaml", "-d", "none", "--images", "5", "--budget", "0"]).stderr
    assert "--images 5 lengthens small, which has 4 images" in told
    told = CliRunner().invoke(app, ["run", "board.yaml", "--store", "s", "-d", "none", "--images", "4"]).stderr
    assert "lengthens" not in told


def test_an_error_in_an_attack_of_a_board_file_begins_with_the_file(folder: Path) -> None:
    path = folder / "board.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("apgd(steps=1)", "apgd(stps=1)"), encoding="utf-8")
    told = str(CliRunner().invoke(app, ["run", "board.yaml", "--store", "t"]).exception)
    assert told.startswith("board.yaml: attacks.apgd: ")
