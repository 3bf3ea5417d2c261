"""Tests that the controls of a board are run beside it, cached, exported and shown again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from purebench import evaluate
from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.execution.companions import evaluated_part, run_companions
from purebench.records.record import Record
from purebench.results.files.companions import companions_in_store
from purebench.results.grading.evidence import ControlKind, ControlScore, Recovery
from purebench.results.grading.gathering import Companions, evidence_of

from boards import write_board  # isort: skip

BOARD = {
    "name": "small",
    "dataset": {"use": "fashion-mnist", "images": 12, "block": 12},
    "classifier": "fashion-verified",
    "threat": {"norm": "linf", "radius": "16/255"},
    "verify": {"draws": 8, "fresh": 16},
    "attacks": {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=10)", "gradient": "exact", "eot": 2},
        "margin": {"use": "apgd(steps=10, loss=cw, stop=false)", "gradient": "exact", "only": "source"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "margin"}},
    },
    "defenses": {"none": "none"},
    "controls": {
        "verified": "verified",
        "reversed": "masked(fault=reversed-gradient, classifier=fashion-verified)",
        "blurred": "masked(fault=decoy-blur, classifier=fashion-verified)",
        "linear": "linear-noise",
        "conflict": "conflict",
    },
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Board]:
    folder = tmp_path_factory.mktemp("companions")
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    found = CliRunner().invoke(
        app,
        [
            "run",
            str(path),
            "--store",
            f"{folder}/s",
            "--results",
            f"{folder}/r",
            "--page",
            f"{folder}/p.html",
            "--workers",
            "1",
        ],
        env={"COLUMNS": "120"},
    )
    assert found.exit_code == 0, found.output
    (folder / "out.txt").write_text(found.output, encoding="utf-8")
    return folder, load_board(path)


def scores_of(companions: Companions) -> Sequence[ControlScore]:
    return evidence_of([], companions).controls


def test_the_truth_is_inside_the_interval_of_deterministic_controls(ran: tuple[Path, Board]) -> None:
    folder, board = ran
    scores = {score.name: score for score in scores_of(companions_in_store(folder / "s", board))}
    assert [*scores] == ["verified", "reversed", "blurred", "linear", "conflict"]
    exact = scores["verified"]
    assert exact.kind is ControlKind.ORACLE
    assert exact.truth_low == exact.truth_high
    assert exact.measured.low <= exact.truth_low <= exact.measured.high
    assert exact.excess.value >= 0
    assert scores["conflict"].truth_high <= 1


def test_transfer_recovers_a_decoy_and_exact_gradients_do_not(ran: tuple[Path, Board]) -> None:
    folder, board = ran
    scores = {score.name: score for score in scores_of(companions_in_store(folder / "s", board))}
    masked = scores["blurred"]
    assert masked.truth_low == 0
    assert masked.without_transfer is not None
    assert masked.without_transfer.value > masked.measured.value
    assert masked.by_attack_kind["exact"].value > masked.by_attack_kind["transfer"].value
    assert masked.excess.value <= 0.05
    assert masked.recovery is Recovery.UNDECIDED  # for lack of images


def test_the_truth_of_a_masked_verified_network_is_exact(ran: tuple[Path, Board]) -> None:
    folder, board = ran
    scores = {score.name: score for score in scores_of(companions_in_store(folder / "s", board))}
    assert scores["reversed"].truth_low == scores["reversed"].truth_high == scores["verified"].truth_high


def test_a_second_run_computes_nothing(ran: tuple[Path, Board]) -> None:
    folder, board = ran
    run: list[Record | None] = []
    run_companions(
        board, folder / "s", compute=Compute(workers=1), progress=lambda done, total, record: run.append(record)
    )
    assert run == [None, None]


def test_page_terminal_and_results_show_the_controls(ran: tuple[Path, Board]) -> None:
    folder, _ = ran
    page, output = (folder / "p.html").read_text(encoding="utf-8"), (folder / "out.txt").read_text(encoding="utf-8")
    assert "Controls: how near the attacks come to known truths" in page
    for name in BOARD["controls"]:  # type: ignore[attr-defined]
        assert name in page
        assert name in output
    assert "known truth" in output
    told = "undecided, for lack of images: "
    assert told in " ".join(output.split())
    assert "<small>undecided</small>" in page
    again = CliRunner().invoke(app, ["show", "--results", f"{folder}/r"], env={"COLUMNS": "120"})
    assert again.exit_code == 0
    lines = set(again.output.splitlines())
    assert all(any(line.lstrip().startswith(name) for line in lines) for name in BOARD["controls"])  # type: ignore[attr-defined]
    assert lines >= {
        line for line in output.splitlines() if line.lstrip().startswith(("verified", "linear", "controls:"))
    }
    stored = CliRunner().invoke(app, ["show", "small", "--store", f"{folder}/s"], env={"COLUMNS": "120"})
    assert "known truth" in stored.output


def test_controls_of_other_settings_are_not_shown(ran: tuple[Path, Board]) -> None:
    folder, board = ran
    assert set(companions_in_store(folder / "s", board)) == {"controls", "references"}
    assert companions_in_store(folder / "s", replace(board, seed=1)) == {}
    assert companions_in_store(folder / "s", replace(board, attacks=board.attacks[:2])) == {}


def test_a_single_row_is_run_without_controls_and_shows_those_of_the_store(ran: tuple[Path, Board]) -> None:
    folder, _ = ran
    path = str(folder / "board.yaml")
    alone = CliRunner().invoke(app, ["run", path, "-d", "none", "--store", f"{folder}/other", "--workers", "1"])
    assert alone.exit_code == 0
    assert "known truth" not in alone.output
    report = evaluate("none", path, store=folder / "s", progress=False)
    assert [score.name for score in report.controls] == [*BOARD["controls"]]  # type: ignore[misc]


def test_controls_are_run_on_the_images_of_the_rows_and_not_within_a_budget(tmp_path: Path) -> None:
    plain = {
        **BOARD,
        "dataset": {"use": "fashion-mnist", "images": 12, "block": 4},
        "controls": {"conflict": "conflict"},
    }
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    board, store = load_board(path), tmp_path / "s"
    words = ["run", str(path), "--store", str(store), "--workers", "1"]
    assert CliRunner().invoke(app, [*words, "--budget", "1000"]).exit_code == 0
    assert companions_in_store(store, board) == {}
    _, records = run_board(board, store, workers=1)
    part = evaluated_part(board, [record for record in records if record.block < 1])
    run_companions(part, store, compute=Compute(workers=1))
    assert [len(result.images) for result in companions_in_store(store, board)["controls"]] == [4]


def test_plan_counts_the_controls_beside_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    plain = {**BOARD, "controls": {"conflict": "conflict"}}
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    words = ["plan", str(path), "--budget", "1", "--workers", "1"]
    planned = CliRunner().invoke(app, words, env={"COLUMNS": "120"})
    assert "in addition small-controls: 7 jobs" in " ".join(planned.output.split())
    assert "in addition" not in CliRunner().invoke(app, [*words, "-d", "none"]).output


def test_a_control_that_cannot_be_run_leaves_the_results_of_the_rows(tmp_path: Path) -> None:
    """The control breaks the contract, which is an error; the results of the rows are written before."""
    controls = {"bad": f"{tmp_path}/defenses.py:shape"}
    path = write_board(tmp_path, images=2, block=2, defenses={"none": "none"}, controls=controls)
    words = ["run", str(path), "--store", str(tmp_path / "s"), "--workers", "1", "--results", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, PurebenchError)
    assert str(done.exception).startswith("small-controls: ")
    assert (tmp_path / "out" / "none.json").is_file()
    assert "robust accuracy" in done.stdout
