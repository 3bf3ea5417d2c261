"""Tests all checks on defenses with known faults, by the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from purebench.boards.board import DefenseChoice
from purebench.boards.parse import load_board
from purebench.checks.attack_variants import Effort, everything, for_radius, for_strength
from purebench.checks.evaluation import honest
from purebench.checks.finding import CheckStatus
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.incremental import Limits, Runner

from claimed import write_claimed  # isort: skip

EFFORT = ["--steps", "6", "--queries", "5", "--eot", "2"]


def check(defense: str, folder: Path, *words: str, radius: str = "4/255") -> tuple[int, dict[str, str]]:
    """Runs `purebench check` and returns its exit code and the results by name of the check."""
    board = write_claimed(folder, radius=radius)
    words = ("check", defense, "--board", str(board), "--store", str(folder / "store"), *EFFORT, *words)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "240"}, catch_exceptions=False)
    lines = [line.strip().split("   ") for line in done.stdout.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return done.exit_code, {row[1]: row[0] for row in rows if len(row) == 3}


def test_a_robust_classifier_passes_all_checks(tmp_path: Path) -> None:
    code, found = check("trades", tmp_path, "--steps", "8")
    assert code == 0
    assert len(found) == 13
    assert set(found.values()) == {"result", "holds", "not applicable"}
    assert found["an unbounded attack reaches 0 %"] == "holds"


def test_checks_are_undecided_on_few_images(tmp_path: Path) -> None:
    code, found = check("trades", tmp_path, "--max-images", "8")
    assert code == 3
    assert found["seeds determine the draws"] == "holds"
    assert found["white-box is at least as strong as black-box"] == "undecided"


def test_checks_stop_as_soon_as_they_are_decided(tmp_path: Path) -> None:
    """A fault in every image is found on few; a sound defense needs enough to rule out a share of `tolerance`."""
    board = load_board(write_claimed(tmp_path, images=64))
    effort = Effort(steps=4, queries=2, eot=2, tolerance=0.5)
    run = Runner(tmp_path / "store.sqlite")
    masked = DefenseChoice("masked", Spec(f"{tmp_path}/own.py:masked"))
    bad = honest(board, masked, run, effort=effort)
    good = honest(board, board.defenses[0], run, effort=effort)
    close = honest(board, board.defenses[0], run, effort=replace(effort, tolerance=0.25))
    assert (bad.result, good.result, close.result) == (CheckStatus.FAILS, CheckStatus.HOLDS, CheckStatus.HOLDS)
    assert bad.images <= good.images < close.images < 64
    hurried = honest(board, board.defenses[0], run, effort=replace(effort, tolerance=0.25), limits=Limits(minutes=1e-9))
    assert (hurried.result, hurried.images) == (CheckStatus.UNDECIDED, 8)


def test_a_defense_with_hidden_gradients_fails(tmp_path: Path) -> None:
    code, found = check(f"{tmp_path}/own.py:masked", tmp_path)
    assert code == 1
    assert found["gradients agree with finite differences"] == "fails"


def test_a_defense_with_correct_but_useless_gradients_fails(tmp_path: Path) -> None:
    """Its predictions are those of the classifier, so adversarial examples of the classifier break it as well."""
    code, found = check(f"{tmp_path}/own.py:decoy", tmp_path, radius="16/255")
    assert code == 1
    assert found["gradients agree with finite differences"] != "fails"
    assert found["white-box is at least as strong as black-box"] == "fails"


def test_a_random_defense_that_seeds_itself_is_refused(tmp_path: Path) -> None:
    """The contract refuses it before any job runs."""
    with pytest.raises(PurebenchError, match="sets its own seed"):
        check(f"{tmp_path}/own.py:reseeded", tmp_path)
    assert not (tmp_path / "store").exists()


def test_a_defense_that_raises_an_error_is_not_checked_further(tmp_path: Path) -> None:
    code, found = check(f"{tmp_path}/own.py:crash", tmp_path)
    assert code == 1
    assert found == {"check": "result", "valid logits": "fails"}


def test_checks_run_on_copies_of_the_board_with_other_names(tmp_path: Path) -> None:
    board = load_board(write_claimed(tmp_path))
    row = board.defenses[0]
    strength, far = for_strength(board, row, Effort()), for_radius(board, row, Effort(), 1.0)
    assert (strength.name, far.name) == ("claimed-checks", "claimed-checks@1")
    assert strength.dataset == far.dataset == board.dataset
    assert (strength.threat, far.threat.radius) == (board.threat, 1.0)
    assert far.to_dict()["threat"]["radius"] == 1.0


@pytest.mark.parametrize(("norm", "size"), [("linf", 1.0), ("l2", 12**0.5), ("l1", 12.0)])
def test_the_unbounded_radius_is_the_largest_distance_between_images(norm: str, size: float) -> None:
    """No two images are farther apart than a black and a white one."""
    assert everything(norm, (3, 2, 2)) == pytest.approx(size)
