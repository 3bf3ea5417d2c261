"""Tests that a row is graded by its own evidence only, and keeps it when other rows are run."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.results.files.companions import companions_in_store
from purebench.results.files.stored_board import from_store
from purebench.results.grading.criteria.letters import Code, Letter
from purebench.results.grading.evidence import ConvergenceStatus
from purebench.results.grading.gathering import declared_controls, evidence_of
from purebench.results.grading.grade import GradeEvidence, grades
from purebench.results.merge import merge

from toy_board import write_toy  # isort: skip

MINE = """
import torch
from purebench.core.defense import Defense

def mine(classifier):
    return Defense({model})
"""
PLAIN = "classifier"
# the gradient is the same for all pixels and does not vanish, so that the ladder alone shows that it misleads
MASKED = "lambda x: classifier(x.detach()) + (x - x.detach()).sum((1, 2, 3))[:, None] * torch.tensor([1.0, 0.0])"
OWN = """
from purebench.core.threat import Knowledge

class Own:
    knowledge = Knowledge.WHITE_BOX

    def __call__(self, view, x, y, threat):
        return {points}
"""
CONTROL = """
import torch
from purebench import Defense
from purebench.core.defense.known_truth import Truth

class Constant(Defense):
    kind, hides, reference = "oracle", "nothing: a constant", ""

    def __init__(self):
        super().__init__(lambda x: torch.eye(2)[torch.zeros(len(x), dtype=torch.long)] + 0 * x.sum())

    def truth(self, x, y, threat):
        right = (y == 0).double().cpu()
        return Truth(low=right, high=right)

def constant():
    return Constant()
"""


def run(*words: object) -> None:
    found = CliRunner().invoke(app, ["run", *map(str, words), "--workers", "1", "--trust"])
    assert found.exit_code == 0, found.output


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Runs a board with a ladder and a control into a store and a folder of results."""
    attacks = {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=2)", "gradient": "exact"},
        "own": {"use": "own.py:Own", "gradient": "exact"},
    }
    write(tmp_path, mine=MINE.format(model=PLAIN), own=OWN.format(points="x"), control=CONTROL)
    rows = {"linear": "none", "mine": "mine.py:mine"}
    path = write_toy(
        tmp_path, attacks=attacks, defenses=rows, effort={"queries": 10}, controls={"constant": "control.py:constant"}
    )
    run(path, "--store", tmp_path / "s", "--results", tmp_path / "r")
    return tmp_path


def evidence(place: Path) -> GradeEvidence:
    board, records = from_store(place / "s", "toy")
    return evidence_of(merge(board, records), companions_in_store(place / "s", board), declared_controls(board))


def reasons(place: Path, row: str) -> Mapping[Code, Any]:
    board, records = from_store(place / "s", "toy")
    found = grades(merge(board, records), evidence(place), "board.yaml")[row]
    return {reason.code: reason for part in found.parts for reason in part.reasons}


def written(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "r" / "grades.json").read_text(encoding="utf-8"))
    return found


def test_the_ladder_of_an_earlier_version_of_a_defense_does_not_grade_it(place: Path) -> None:
    assert {one.status for one in evidence(place).convergence.values()} == {ConvergenceStatus.CONVERGED}
    write(place, mine=MINE.format(model=MASKED))
    run(place / "board.yaml", "-d", "mine", "--store", place / "s", "--results", place / "r")
    assert set(evidence(place).convergence) == {"linear"}
    assert reasons(place, "mine")[Code.CONVERGENCE].letter is Letter.C
    found = written(place)
    assert "convergence was not measured" in json.dumps(found["mine"])
    assert "convergence was not measured" not in json.dumps(found["linear"])
    shown = CliRunner().invoke(app, ["show", "--results", str(place / "r")])
    assert "1 of 1 rows converged" in " ".join(shown.output.split())
    # the ladder of one row is run, and that of the other is kept
    run(place / "board.yaml", "-d", "mine", "--evidence", "--store", place / "s", "--results", place / "r")
    status = {name: one.status for name, one in evidence(place).convergence.items()}
    assert status == {"linear": ConvergenceStatus.CONVERGED, "mine": ConvergenceStatus.FLAT}
    assert (written(place)["mine"]["grade"], written(place)["linear"]["grade"]) == ("D", found["linear"]["grade"])


def test_losing_the_ladder_of_a_row_does_not_raise_its_letter_in_a_folder(place: Path) -> None:
    """The ladder of a masked row is flat, a D; a run of another row into the same folder leaves it a D."""
    write(place, mine=MINE.format(model=MASKED))
    run(place / "board.yaml", "--store", place / "s", "--results", place / "r")
    before = written(place)
    assert before["mine"]["grade"] == "D"
    run(place / "board.yaml", "-d", "linear", "--store", place / "other", "--results", place / "r")
    assert written(place) == before
    shown = CliRunner().invoke(app, ["show", "--results", str(place / "r")], env={"COLUMNS": "120"})
    assert "flat: mine" in " ".join(shown.output.split())


def test_controls_that_an_earlier_version_of_an_attack_was_run_on_do_not_grade_a_row(place: Path) -> None:
    assert [one.name for one in evidence(place).controls] == ["constant"]
    write(place, own=OWN.format(points="x.clone()"))
    run(place / "board.yaml", "-d", "linear", "--store", place / "s")
    assert evidence(place).controls == []
    assert reasons(place, "linear")[Code.CONTROLS].sentence == "no control rows were run"
    run(place / "board.yaml", "--store", place / "s")
    assert [one.name for one in evidence(place).controls] == ["constant"]


def test_the_exported_table_has_the_letters_of_the_results(place: Path) -> None:
    write(place, mine=MINE.format(model=MASKED))
    run(place / "board.yaml", "--store", place / "s", "--results", place / "r")
    out = CliRunner().invoke(app, ["export", "toy", "--store", f"{place}/s", "--out", f"{place}/e", "--format", "csv"])
    assert out.exit_code == 0, out.output
    with (place / "e" / "toy.csv").open(encoding="utf-8", newline="") as file:
        letters = {line["defense"]: line["grade"] for line in csv.DictReader(file)}
    assert letters == {name: one["grade"] for name, one in written(place).items()}
    assert letters["mine"] == "D"


def test_the_commands_of_grades_json_name_the_board_as_it_was_given(place: Path) -> None:
    path = place / "elsewhere.yaml"
    (place / "board.yaml").rename(path)
    run(path, "--no-evidence", "--store", place / "s", "--results", place / "named")
    text = (place / "named" / "grades.json").read_text(encoding="utf-8")
    assert f"purebench run {path}" in text
    assert "purebench run toy.yaml" not in text


def test_results_of_a_derived_board_that_cannot_be_read_stop_a_run_before_it_begins(place: Path) -> None:
    (place / "r" / "effort" / "linear.json").write_text("{}", encoding="utf-8")
    found = CliRunner().invoke(
        app, ["run", f"{place}/board.yaml", "--store", f"{place}/new", "--results", f"{place}/r"]
    )
    assert found.exit_code != 0
    assert not (place / "new").exists()
