"""Tests the files of a search, its errors, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from purebench.attack_search.bench import AttackBench
from purebench.attack_search.breaking import SearchBudget
from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.halving import Halving, Score
from purebench.attack_search.report import write
from purebench.attack_search.search import SearchResult
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.records import store

from break_world import BOARD, FEW, OWN, searched, write_world  # isort: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_world(tmp_path)


def test_the_files_have_the_report_and_an_attack_that_a_board_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = searched(place, SearchBudget(minutes=5, images=24, evaluations=30), command="purebench break x")
    monkeypatch.chdir(place)
    write(report, Path("out"))
    found = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    assert found["confirmation"]["number"] == 1
    assert found["passes_spent"] == report.found.passes > 0
    assert found["dev_ladder"]["24"] == 0
    assert found["controls"]["similar"] == 0
    assert len(found["candidates"]) == len(report.found.halving.candidates) <= 30
    text = (place / "out" / "report.md").read_text(encoding="utf-8")
    for part in (
        "Confirmed on 24 images of small",
        "unknown (no controls were measured)",
        "| dev accuracy |",
        "attacks:",
    ):
        assert part in text
    board = load_board(Path("out/board.yaml"))
    assert [attack.name for attack in board.attacks] == ["clean", "apgd", "found"]
    assert (
        yaml.safe_load(Path("out/attack.yaml").read_text(encoding="utf-8"))["attacks"]["found"]
        == report.attack()["found"]
    )
    command = report.run_command(Path("out")).split()[1:]
    result = CliRunner().invoke(app, [*command, "--store", "other-store", "--workers", "1"])
    assert result.exit_code == 0, result.output
    with store.reading(Path("other-store")) as saved:
        draws = [d for one in saved.of_board("small-found") if one.attack == "found" for d in one.draws]
    assert draws == ["0"] * 24


@pytest.mark.parametrize(
    ("answer", "told"), [("1 / 0", "ZeroDivisionError"), ("x.sum() * float('nan')", "finite logits")]
)
def test_a_defense_that_raises_or_answers_nan_is_refused_with_its_error(place: Path, answer: str, told: str) -> None:
    code = OWN.replace("return self.model(x).detach() + 0 * x.sum()", f"return self.model(x) + {answer}")
    (place / "own.py").write_text(code, encoding="utf-8")
    with pytest.raises(PurebenchError, match=f"expected a defense that answers the dev images, but: .*{told}"):
        searched(place)


def test_a_folder_that_cannot_be_written_is_refused_before_the_search(place: Path) -> None:
    words = ["break", "masked", "--board", f"{place}/board.yaml", "--store", f"{place}/s", "--out"]
    for out in (place / "own.py", place / "own.py" / "deeper"):
        with pytest.raises(PurebenchError, match=r"--out: expected a folder that can be written, but .*own.py is not"):
            CliRunner().invoke(app, [*words, str(out)], catch_exceptions=False)
    assert not (place / "s").exists()


def test_data_sets_without_dev_images_and_more_than_there_are_are_refused(place: Path) -> None:
    with pytest.raises(PurebenchError, match=r"--images: expected at most 80, the number of dev images"):
        searched(place, replace(FEW, images=81))
    plain = {**BOARD, "dataset": {"use": "own.py:images(count=30, undivided=true)", "images": 24, "block": 12}}
    (place / "board.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected at least 10 dev images"):
        searched(place)
    assert not (place / "store").exists()


def test_a_board_on_dev_images_is_refused_before_the_search(place: Path) -> None:
    dev = {**BOARD, "dataset": {"use": "own.py:images(split=dev)", "images": 24, "block": 12}}
    (place / "board.yaml").write_text(yaml.safe_dump(dev), encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected a board on test images, but small is on the dev images"):
        searched(place)
    assert not (place / "store").exists()


def test_an_unconfirmed_result_is_the_accuracy_on_the_largest_number_of_dev_images(place: Path) -> None:
    report, halving, one = searched(place), Halving([12, 24]), AttackCandidate((Step("apgd", {}, "exact"),), "")
    halving.add([one], 12, {one.name: Score(np.zeros(12), 1.0, 1.0)})
    halving.add([one], 24, {one.name: Score(np.repeat([0.0, 1.0], 12), 1.0, 1.0)})
    told = replace(report, found=SearchResult(halving), confirmation=None).conclusion()
    assert "accuracy 50.0 % on the 24 dev images" in told
    assert (
        "no attack was measured" in replace(report, found=SearchResult(Halving([12])), confirmation=None).conclusion()
    )


def test_a_report_begins_with_the_images_on_which_the_attack_failed(place: Path) -> None:
    report = searched(place)
    told = replace(report, confirmation=replace(report.confirmation, errored=1)).conclusion()
    assert told.startswith("The attack failed with an error on 1 image; these count as right. Confirmed on 24 images")


def test_dev_images_are_searched_on_and_none_is_on_the_board(place: Path) -> None:
    board = choose(str(place / "board.yaml"), ["masked"], None)
    bench = AttackBench.of(board, place / "store", device="cpu", workers=1, seconds=60, images=24, seed=0)
    assert all(one.startswith("dev-") for one in bench.context.images.identities)
    assert bench.known.inner == ["classifier.model"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minutes": 0}, "--minutes: expected a time above 0"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"minutes": 1, "images": 0}, "--images: expected a whole number of at least 1"),
        ({"minutes": 1, "workers": 0}, "--workers"),
    ],
)
def test_invalid_budgets_are_rejected(fields: dict[str, float], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        SearchBudget(**fields)  # type: ignore[arg-type]


def test_more_confirming_images_than_the_board_has_are_rejected(place: Path) -> None:
    with pytest.raises(PurebenchError, match="--confirm: expected at most 24"):
        searched(place, replace(FEW, confirm=25))


def test_the_command_searches_and_writes_its_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = ["break", "masked", "--board", "board.yaml", "--minutes", "5", "--images", "24", "--evaluations", "4"]
    words += ["--search", "random", "--store", "store", "--out", "out"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "Next command" in result.output
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "attack.yaml",
        "board.yaml",
        "report.json",
        "report.md",
    ]
    both = CliRunner().invoke(app, ["break", "masked", "--hours", "1", "--minutes", "5"])
    assert isinstance(both.exception, PurebenchError)
    assert "either --hours or --minutes" in str(both.exception)
