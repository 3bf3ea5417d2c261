"""Tests the command `purebench sweep`: table, files, exit codes, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from purebench.checks.sweeps.markdown import markdown_table
from purebench.checks.sweeps.outcome import SweepOutcome
from purebench.cli.main import app
from purebench.core.errors import PurebenchError

from sweep_world import TEXT, write_world  # isort: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the linear world."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    write_world(tmp_path)
    return tmp_path


def sweep(*words: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *words, "--workers", "1"])


def error(*words: str) -> str:
    done = sweep(*words)
    assert isinstance(done.exception, PurebenchError), done.output
    return str(done.exception)


def test_a_sweep_prints_a_table_and_writes_json_and_a_picture(own_folder: Path) -> None:
    done = sweep("board.yaml", "-d", TEXT, "--images", "40", "--largest-clean-loss", "0.25", "--radius", "{0.02, 0.3}")
    assert done.exit_code == 0, done.output
    outcome = SweepOutcome.from_json((own_folder / "sweeps/board/sweep.json").read_text(encoding="utf-8"))
    assert (own_folder / "sweeps/board/sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert (own_folder / "sweeps/board/sweep.md").read_text(encoding="utf-8") == markdown_table(outcome)
    chosen = outcome.families[0].chosen
    assert chosen is not None
    for point in outcome.families[0].points:
        line = next(line for line in done.stdout.splitlines() if f" {point.label} " in line)
        assert point.robust.percent() in line
        assert point.clean.percent() in line
    told = "★ t=1.0: the highest robust accuracy of the 4 strengths with a clean loss of at most 25 points"
    assert told in done.stdout
    assert "holds: robust accuracy does not rise with the radius" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_sweep_file_beside_its_board_runs_and_options_replace_its_values(own_folder: Path) -> None:
    keys = {"board": "board.yaml", "images": 20, "families": {"scaled": TEXT, "other": "own.py:scaled(t={0.1, 0.2})"}}
    (own_folder / "mine.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    done = sweep("mine.yaml", "--family", "other", "--images", "10", "--cascade", "--out", "there")
    assert done.exit_code == 0, done.output
    outcome = SweepOutcome.from_json((own_folder / "there/sweep.json").read_text(encoding="utf-8"))
    assert [one.name for one in outcome.families] == ["other"]
    assert len(outcome.images) == 10
    assert outcome.settings["cascade"] is True


def test_the_exit_code_is_1_if_a_strength_has_no_number(own_folder: Path) -> None:
    done = sweep("board.yaml", "-d", "own.py:failing(t={0.5, 1})", "--images", "10")
    assert done.exit_code == 1
    assert "errored" in done.stdout
    assert (own_folder / "sweeps/board/sweep.json").is_file()


def test_python_files_outside_the_folder_of_a_sweep_file_are_not_run_without_consent(own_folder: Path) -> None:
    (own_folder / "inside").mkdir()
    foreign = f"{own_folder}/own.py:scaled(t={{0.1, 0.2}})"
    write_world(own_folder / "inside")
    keys = {"board": "board.yaml", "families": {"f": foreign}}
    (own_folder / "inside/mine.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    assert "runs Python code from outside its folder" in error("inside/mine.yaml", "--images", "10")
    assert sweep("inside/mine.yaml", "--images", "10", "--trust").exit_code == 0


def test_python_files_are_looked_for_beside_the_sweep_file_first(own_folder: Path) -> None:
    (own_folder / "inside").mkdir()
    write_world(own_folder / "inside")
    (own_folder / "own.py").unlink()
    keys = {"board": "board.yaml", "families": {"f": "own.py:scaled(t={0.1, 0.2})"}}
    (own_folder / "inside/mine.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    done = sweep("inside/mine.yaml", "--images", "10")
    assert done.exit_code == 0, done.output
    outcome = SweepOutcome.from_json((own_folder / "sweeps/mine/sweep.json").read_text(encoding="utf-8"))
    assert [point.label for point in outcome.families[0].points] == ["t=0.1", "t=0.2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["board.yaml"], "expected a defense with several values of a parameter"),
        (["fashion-certified"], "fashion-certified is a board without a sweep"),
        (["board.yaml", "-d", "own.py:scaled(t=1)"], "expected at least two strengths"),
        (["families.yaml", "-d", TEXT], "--defense: expected a board, but families.yaml is a file with families"),
        (["board.yaml", "-d", TEXT, "--family", "a"], "--family: expected a file with families"),
        (["fashion-families", "--family", "nois"], "did you mean 'noise'"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["fashion-quik", "-d", TEXT], "did you mean 'fashion-quick'"),
        (["board.yaml", "-d", TEXT, "--radius", "far"], "radius: expected a number above 0"),
        (["board.yaml", "-d", TEXT, "--largest-clean-loss", "10"], "largest_clean_loss: expected a fraction"),
        (["board.yaml", "-d", TEXT, "--out", "own.py"], "--out: expected a folder"),
    ],
)
def test_invalid_input_is_rejected(own_folder: Path, words: list[str], told: str) -> None:
    keys = {"board": "board.yaml", "families": {"f": TEXT}}
    (own_folder / "families.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    assert told in error(*words)
