"""Tests that `purebench.evaluate` gives the results of the command line and leaves the given objects unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import purebench
from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.core.defense import Defense, Function, Purifier
from purebench.core.errors import PurebenchError
from purebench.core.files.places import STORE_SCHEMA
from purebench.core.registry import LOCAL
from purebench.execution.board_run import run_board
from purebench.report import Report
from purebench.results.merge import merge

from boards import write_board  # isort: skip

ATTACKS = {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=3)", "gradient": "exact", "eot": 2}}


class Dimmer(Purifier):
    """Halves the contrast with a trainable weight; has a persistent and a non-persistent buffer."""

    random = False

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("middle", torch.tensor(0.25))
        self.register_buffer("passing", torch.tensor(0.0), persistent=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.share * x) + self.middle + self.passing


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return load_board(write_board(tmp_path_factory.mktemp("api"), images=4, attacks=ATTACKS))


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the default store: a temporary one, so that tests do not read each other's stores or the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def numbers(report: Report) -> list[str]:
    return [json.dumps(result.to_dict() | {"name": "", "spec": ""}, sort_keys=True) for result in report.results]


def test_importing_purebench_does_not_import_large_dependencies() -> None:
    code = (
        "import sys, purebench; heavy = {'torch', 'numpy', 'rich', 'pandas', 'matplotlib', 'yaml'} & set(sys.modules); "
        "assert not heavy, heavy; assert {'evaluate', 'Report'} <= set(dir(purebench))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_is_named_evaluate() -> None:
    """Importing such a module would replace the function `purebench.evaluate`."""
    assert find_spec("purebench.evaluate") is None
    assert callable(purebench.evaluate)


def test_an_unknown_attribute_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        purebench.evalute  # noqa: B018


def test_evaluate_equals_run_board_and_resumes_from_its_store(board: Board, own_data_folder: Path) -> None:
    done: list[int] = []
    report = purebench.evaluate(["none", "coin"], board, progress=lambda now, total, record: done.append(now))
    _, records = run_board(replace(board, defenses=board.defenses[::2]), own_data_folder / "s", workers=1)
    expected = Report(board, tuple(merge(board, records)), report.classes)
    assert numbers(report) == numbers(expected)
    assert done == [0, 1, 2, 3, 4, 5, 6]
    assert (own_data_folder / "purebench" / f"records-{STORE_SCHEMA}.sqlite").is_file()
    done.clear()
    again = purebench.evaluate(["none", "coin"], board, progress=lambda now, total, record: done.append(now))
    assert done == [6]
    assert numbers(again) == numbers(report)


def test_without_defenses_all_rows_run_at_the_given_images_and_radius(board: Board, tmp_path: Path) -> None:
    small = replace(board, dataset=replace(board.dataset, block=2))
    report = purebench.evaluate(board=small, images=2, radius="1/255", store=tmp_path / "s", progress=False)
    assert {row.name for row in report.rows} == {"none", "noise", "coin"}
    assert report.board.name == "small@1-255"
    assert report["none"].robust is not None
    assert report["none"].robust.n == 2


def test_a_defense_object_and_its_file_have_equal_clean_results(board: Board, tmp_path: Path) -> None:
    """The key of a file includes its source, so random numbers of attacks differ; clean results must be equal."""
    made = "Function(lambda x: 0.5 * x + 0.25, random=False)"
    (tmp_path / "own.py").write_text(
        f"from purebench.core.defense import Function\ndef own():\n    return {made}\n", encoding="utf-8"
    )
    clean = replace(board, attacks=board.attacks[:1])
    there = purebench.evaluate(f"{tmp_path}/own.py:own", clean, progress=False)
    here = purebench.evaluate(Function(lambda x: 0.5 * x + 0.25, random=False), clean, progress=False)
    assert here.results[0].attacks[0].draws == there.results[0].attacks[0].draws


def test_evaluating_an_object_is_repeatable_and_leaves_it_unchanged(
    board: Board, own_data_folder: Path, tmp_path: Path
) -> None:
    dimmer = Dimmer().train()
    dimmer.dropout.eval()
    first = purebench.evaluate(dimmer, board, progress=False)
    assert "--defense in-memory" not in first.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert numbers(purebench.evaluate(dimmer, board, progress=False)) == numbers(first)
    assert dimmer.training
    assert not dimmer.dropout.training
    assert dimmer.share.requires_grad
    assert set(dimmer.state_dict()) == {"share", "middle"}
    assert first.rows[0].name == "Dimmer"
    assert first.rows[0].spec == "in-memory:Dimmer"
    assert not own_data_folder.exists()
    assert not [name for name in LOCAL["defenses"] if name.startswith("in-memory")]


def test_another_function_with_the_same_name_is_evaluated_again(board: Board) -> None:
    """Neither has weights, so a fingerprint of the weights cannot distinguish them."""
    right = purebench.evaluate({"f": Function(lambda x: x, random=False)}, board, progress=False)
    wrong = purebench.evaluate({"f": Function(lambda x: 0 * x, random=False)}, board, progress=False)
    assert right.clean is not None
    assert wrong.clean is not None
    assert right.clean.value > wrong.clean.value


def test_a_torch_module_and_a_random_defense_are_accepted(board: Board) -> None:
    ten = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))
    constant = Defense(lambda x: torch.randn(len(x), 10) + 0 * x.mean(), random=True)
    report = purebench.evaluate({"linear": ten, "dice": constant}, board, progress=False)
    assert not report["linear"].random
    assert report["dice"].random
    assert report["dice"].result.draws == board.draws


def test_a_changed_file_is_read_again_in_the_same_process(board: Board, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = "from purebench.core.defense import Function\n"
    text += "def mine():\n    return Function(lambda x: {} * x, random=False)\n"
    file.write_text(text.format("1.0"), encoding="utf-8")
    before = purebench.evaluate(f"{file}:mine", board, progress=False)
    file.write_text(text.format("0.0"), encoding="utf-8")
    after = purebench.evaluate(f"{file}:mine", board, progress=False)
    assert before.clean is not None
    assert after.clean is not None
    assert before.clean.value > after.clean.value


@pytest.mark.parametrize(
    ("defense", "options", "told"),
    [
        ("vea", {}, "did you mean 'vae'"),
        ([], {}, "at least one defense"),
        ({}, {}, "at least one defense"),
        ({1: "none"}, {}, "as strings, but got the name 1"),
        ("none", {"workers": "2"}, "workers: expected a whole number of at least 1, but got '2'"),
        ("none", {"workers": 0}, "workers: expected a whole number of at least 1, but got 0"),
        ("none", {"device": None}, "device: expected .* but got None"),
        ("none", {"radius": -0.1}, "radius: expected a number above 0"),
        (["none", "none"], {}, "twice"),
        (["none", "none()"], {}, "twice"),
        ({"vae": "none"}, {"board": "fashion-quick"}, "whose adversarial images other rows reuse"),
        ({"a b": "vae"}, {}, "names of letters"),
        (Dimmer, {}, "pass an instance: Dimmer"),
        (lambda: Dimmer(), {}, "if it is a factory, call it"),
        (3, {}, "expected a name"),
        ("none", {"board": "fashion-quik"}, "fashion-quick"),
        ("none", {"images": 0}, "images: expected"),
        ("none", {"device": "quantum"}, "quantum"),
        (Function(abs, random=False), {"store": "s"}, "has no identity"),
        (Function(abs, random=False), {"workers": 2}, "only in this process"),
    ],
)
def test_invalid_input_is_rejected_and_nothing_is_written(
    board: Board, own_data_folder: Path, defense: object, options: dict[str, object], told: str
) -> None:
    with pytest.raises(PurebenchError, match=told):
        purebench.evaluate(defense, **{"board": board, "progress": False} | options)  # type: ignore[arg-type]
    assert not own_data_folder.exists()
