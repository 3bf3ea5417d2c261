"""Tests `robustness.not_worse_than` against a committed result file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from purebench.boards import selection
from purebench.boards.parse import load_board
from purebench.checks.finding import CheckStatus
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.results.files.export import export_results
from purebench.results.merge import merge
from purebench.testing.fixture import Robustness
from purebench.testing.settings import Settings

from claimed import write_claimed  # isort: skip

IMAGES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board, and results of two of its rows in `baselines`."""
    folder = tmp_path_factory.mktemp("baseline")
    board = load_board(write_claimed(folder, images=IMAGES, radius="16/255"))
    _, records = run_board(board, folder / "store.sqlite", workers=1)
    export_results(folder / "baselines", merge(board, records))
    return folder


@pytest.fixture
def robustness(folder: Path) -> Robustness:
    return Robustness(Settings(store=folder / "found", images=folder / "images", board=folder / "board.yaml"))


def test_a_claim_against_a_file_is_that_against_the_defense(robustness: Robustness, folder: Path) -> None:
    for margin in (0.05, 1.0):
        live = robustness.not_worse_than("none", "trades", margin=margin)
        filed = robustness.not_worse_than("none", folder / "baselines" / "trades.json", margin=margin)
        assert (live.result, live.estimate, live.images) == (filed.result, filed.estimate, filed.images)
    assert filed.result is CheckStatus.HOLDS
    assert "robust accuracy at most 100 points below that of trades in trades.json: holds" in filed.message


def test_a_loss_fails_and_few_images_are_undecided(robustness: Robustness, folder: Path) -> None:
    worse = robustness.not_worse_than("none", str(folder / "baselines" / "trades.json"), margin=0.05)
    assert worse.result is CheckStatus.FAILS
    assert worse.estimate is not None
    assert worse.estimate.value < 0  # the defense minus its baseline
    assert "estimate   none minus trades in trades.json: " in worse.message
    equal = changed(folder, "trades", weights="00" * 32)  # another defense with the same answers
    same = robustness.not_worse_than("trades", equal, margin=0.05)
    assert (same.result, same.images) == (CheckStatus.UNDECIDED, IMAGES)
    assert same.estimate is not None
    assert same.estimate.value == 0


def changed(folder: Path, row: str, **parts: object) -> Path:
    """A result file of a row with other fields."""
    plain = json.loads((folder / "baselines" / f"{row}.json").read_text(encoding="utf-8")) | parts
    path = folder / "changed" / f"{row}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def test_an_unchanged_defense_passes_whatever_the_width_of_the_interval(robustness: Robustness, folder: Path) -> None:
    same = robustness.not_worse_than("trades", folder / "baselines" / "trades.json", margin=0.01)
    assert (same.result, same.images) == (CheckStatus.HOLDS, IMAGES)
    assert "unchanged  its code, weights and answers are those of trades in trades.json" in same.message
    code = json.loads((folder / "baselines" / "trades.json").read_text(encoding="utf-8"))["provenance"]
    other = changed(folder, "trades", provenance=code | {"code": code["code"] | {"defense": "0" * 64}})
    assert robustness.not_worse_than("trades", other, margin=0.01).result is CheckStatus.UNDECIDED
    part = robustness.not_worse_than("trades", folder / "baselines" / "trades.json", margin=0.01, max_images=8)
    assert part.result is CheckStatus.UNDECIDED


def test_at_most_the_images_of_the_baseline_are_evaluated(robustness: Robustness, folder: Path) -> None:
    board = load_board(folder / "board.yaml")
    first = replace(board, dataset=replace(board.dataset, images=8))
    _, records = run_board(first, folder / "store.sqlite", workers=1)
    export_results(folder / "few", merge(first, records))
    found = robustness.not_worse_than("trades", folder / "few" / "trades.json", margin=0.05)
    assert (found.result, found.images) == (CheckStatus.HOLDS, 8)
    assert robustness.not_worse_than("none", folder / "few" / "none.json", max_images=16).images == 8


def test_a_missing_file_names_the_command_that_writes_it(robustness: Robustness, folder: Path) -> None:
    with pytest.raises(PurebenchError, match=r"purebench run .*board.yaml --defense trades --results .*/nowhere"):
        robustness.not_worse_than("trades", folder / "nowhere" / "trades.json")


def of_another_board(data: dict[str, Any]) -> None:
    data["board"]["verify"]["draws"] = 5


def without_some_attack(data: dict[str, Any]) -> None:
    data["board"]["attacks"]["apgd-exact"]["eot"] = 3


def of_other_images(data: dict[str, Any]) -> None:
    data["images"][-2:] = data["images"][:-3:-1]


def of_other_data(data: dict[str, Any]) -> None:
    data["provenance"]["data"] = "00"


def of_other_code(data: dict[str, Any]) -> None:
    data["provenance"]["code"]["attacks"]["apgd-exact"] = "00"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (of_another_board, "expected a result of the board claimed .* but the boards differ in verify"),
        (without_some_attack, "the boards differ in attacks"),
        (of_other_images, "its images differ"),
        (of_other_data, "its images differ"),
        (of_other_code, "expected a result under the same attacks, but the code of attacks differs: apgd-exact"),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused(
    robustness: Robustness, folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    data = json.loads((folder / "baselines" / "trades.json").read_text(encoding="utf-8"))
    change(data)
    (tmp_path / "trades.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PurebenchError, match=told):
        robustness.not_worse_than("trades", tmp_path / "trades.json", margin=0.0)


def test_other_code_of_the_classifier_is_a_warning(robustness: Robustness, folder: Path) -> None:
    plain = json.loads((folder / "baselines" / "trades.json").read_text(encoding="utf-8"))["provenance"]
    other = changed(folder, "trades", provenance=plain | {"code": plain["code"] | {"shared": "00"}})
    with pytest.warns(UserWarning, match=r"trades\.json: the code of the classifier or of the data set differs"):
        robustness.not_worse_than("trades", other, margin=0.05)


def test_a_baseline_with_errors_is_refused(robustness: Robustness, tmp_path: Path, folder: Path) -> None:
    board = yaml.safe_load((folder / "board.yaml").read_text(encoding="utf-8"))
    board["defenses"] = {"none": "none", "crash": f"{folder}/own.py:crash"}
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    failing = selection.with_rows(
        load_board(tmp_path / "board.yaml"), [selection.row(load_board(tmp_path / "board.yaml"), "crash")]
    )
    _, records = run_board(failing, tmp_path / "store.sqlite", workers=1)
    export_results(tmp_path, merge(failing, records))
    with pytest.raises(PurebenchError, match=r"crash.json: expected"):
        robustness.not_worse_than("trades", tmp_path / "crash.json", board=tmp_path / "board.yaml")
