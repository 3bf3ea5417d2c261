"""Tests RobustBench's protocol on a user's own model, and that a killed evaluation goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack

from purebench.core.errors import PurebenchError
from purebench.integrations.robustbench import benchmark, model_info
from purebench.integrations.robustbench.command import command

from tiny_zoo import NAME  # isort: skip

RADIUS = 0.004
MINE = """
import sys

import torch
from torch import nn

sys.path.insert(0, {helpers!r})
from tiny_zoo import Tiny

def model():
    net = Tiny()
    net.load_state_dict(torch.load({weights!r}))
    return net

def noisy():
    net = model()
    return lambda x: net(x + 0.1 * torch.randn_like(x))

def hundred():
    return lambda x: torch.zeros(len(x), 100)

def flat():
    return lambda x: x.mean()

def broken():
    return lambda x: x @ x[:, :1, :5]

def purifier():
    from purebench import Function
    return Function(lambda x: x, random=False)
"""


@pytest.fixture(scope="module")
def mine(made: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the model of the zoo as a user's own, and faulty ones."""
    folder = tmp_path_factory.mktemp("mine")
    helpers = str(Path(__file__).resolve().parents[1] / "helpers")
    weights = str(made.folder / "cifar10" / "Linf" / f"{NAME}.pt")
    (folder / "mine.py").write_text(MINE.format(helpers=helpers, weights=weights), encoding="utf-8")
    return folder / "mine.py"


def run(made: SimpleNamespace, model: str, **options: Any) -> benchmark.ZooResult:
    given = {"eps": RADIUS, "n_examples": 12, "batch_size": 4, "data_dir": made.data, **options}
    return benchmark.benchmark(model, **given)


@pytest.fixture(scope="module")
def whole(made: SimpleNamespace, mine: Path) -> benchmark.ZooResult:
    return run(made, f"{mine}:model")


def same(a: benchmark.ZooResult, b: benchmark.ZooResult) -> bool:
    names = ("clean", "robust", "claimed", "verified", "labels", "claims", "outcomes", "distances", "eps", "seed")
    return all(getattr(a, name) == getattr(b, name) for name in names)


def test_an_own_model_has_the_result_of_the_same_model_in_the_zoo(
    made: SimpleNamespace, whole: benchmark.ZooResult
) -> None:
    assert same(whole, run(made, NAME, model_dir=made.folder))
    assert 0 < whole.robust.value < whole.clean.value


class Killed(BaseException):
    """Ends an evaluation in the middle."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Counts the batches that AutoAttack's parts compute; `ends_at` ends the evaluation in that batch."""
    seen = SimpleNamespace(count=0, ends_at=None, end=lambda: (_ for _ in ()).throw(Killed()))

    def counting(own: Any) -> Any:
        def perturb(self: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            seen.count += 1
            if seen.count == seen.ends_at:
                next(seen.end(), None)
            found: torch.Tensor = own(self, x, y)
            return found

        return perturb

    for kind in (APGDAttack, APGDAttack_targeted, SquareAttack):
        monkeypatch.setattr(kind, "perturb", counting(kind.perturb))
    return seen


def test_an_evaluation_that_ended_early_goes_on_with_equal_results(
    made: SimpleNamespace, mine: Path, whole: benchmark.ZooResult, counted: SimpleNamespace, tmp_path: Path
) -> None:
    run(made, f"{mine}:model")
    total, counted.count = counted.count, 0
    assert total >= 5
    heard: list[str] = []
    for counted.ends_at in (3, 2):
        counted.count = 0
        with pytest.raises(Killed):
            run(made, f"{mine}:model", state=tmp_path)
    counted.count, counted.ends_at = 0, None
    kept = len(list(tmp_path.rglob("*.npz")))
    found = run(made, f"{mine}:model", state=tmp_path, tell=heard.append)
    assert counted.count <= total - 3  # two batches of the first run, and one of the second
    assert any("continues an earlier run" in line for line in heard)
    assert same(found, whole)
    assert kept >= 3
    assert not list(tmp_path.iterdir())  # nothing is left of a finished evaluation


def test_results_of_other_settings_are_not_used(
    made: SimpleNamespace, mine: Path, counted: SimpleNamespace, tmp_path: Path
) -> None:
    """Each setting, and a change of the code that leaves the weights, has a folder of its own."""
    changed = mine.with_name("changed.py")
    text = mine.read_text(encoding="utf-8")
    changed.write_text(text.replace("net.load_state", "net.double().float().load_state"), encoding="utf-8")
    others = [{}, {"seed": 1}, {"eps": 0.0041}, {"batch_size": 5}, {"threat_model": "L2"}, {"n_examples": 11}]
    evaluations = [(mine, other) for other in others] + [(changed, {})]
    for number, (file, options) in enumerate(evaluations, 1):
        counted.count, counted.ends_at = 0, 2
        with pytest.raises(Killed):
            run(made, f"{file}:model", state=tmp_path, **options)
        assert len(list(tmp_path.iterdir())) == number


def test_a_damaged_file_is_computed_again(
    made: SimpleNamespace, mine: Path, whole: benchmark.ZooResult, counted: SimpleNamespace, tmp_path: Path
) -> None:
    counted.ends_at = 4
    with pytest.raises(Killed):
        run(made, f"{mine}:model", state=tmp_path)
    counted.ends_at = None
    first, second, *_ = sorted(tmp_path.rglob("*.npz"))
    first.write_bytes(first.read_bytes()[:40])
    np.savez(second, rows=np.array([99]), images=np.zeros((1, 3, 32, 32), np.float32))
    assert same(run(made, f"{mine}:model", state=tmp_path), whole)


def test_a_run_that_was_killed_by_the_system_goes_on(
    made: SimpleNamespace, mine: Path, whole: benchmark.ZooResult, counted: SimpleNamespace, tmp_path: Path
) -> None:
    """The child gets signal 9 in its fourth batch."""
    counted.ends_at, counted.end = 4, lambda: os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        torch.set_num_threads(1)
        run(made, f"{mine}:model", state=tmp_path)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(list(tmp_path.rglob("*.npz"))) >= 3
    counted.count, counted.ends_at = 0, None
    heard: list[str] = []
    assert same(run(made, f"{mine}:model", state=tmp_path, tell=heard.append), whole)
    assert any("continues an earlier run: " in line for line in heard)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("noisy", "expected a deterministic model, but it is random; RobustBench's rules exclude random models"),
        ("hundred", "expected 10 classes for cifar10, but got 100"),
        ("flat", r"expected logits of shape \[4,K\] with K ≥ 2 classes"),
        ("broken", r"cannot answer images of shape \[4, 3, 32, 32\]: RuntimeError"),
        ("purifier", "expected a model from images in .* but got a Function; return a classifier, or a Defense"),
        ("modle", "'modle' is unknown; did you mean 'model'"),
    ],
)
def test_other_models_are_refused_before_a_run(made: SimpleNamespace, mine: Path, name: str, told: str) -> None:
    with pytest.raises(PurebenchError, match=told):
        run(made, f"{mine}:{name}")


def test_the_entry_of_robustbench_is_written_and_keeps_what_its_author_filled_in(
    made: SimpleNamespace,
    mine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(model_info.IMAGES, "cifar10", 12)
    monkeypatch.setitem(model_info.EPS, ("cifar10", "Linf"), RADIUS)
    out = tmp_path / "model_info" / "cifar10" / "Linf" / "Mine2026.json"
    options = {"model_dir": None, "out": out, "data_dir": made.data, "batch_size": 12, "state": tmp_path / "state"}
    command(f"{mine}:model", **options)
    entry = json.loads(out.read_text(encoding="utf-8"))
    assert list(entry) == list(model_info.FIELDS)
    assert (entry["dataset"], entry["clean_acc"]) == ("cifar10", "83.33")
    assert 0 < float(entry["autoattack_acc"]) < 83.33
    told = " ".join(capsys.readouterr().out.split())
    assert "fill in, for RobustBench: link, name, authors, additional_data, venue, architecture, reported" in told
    out.write_text(json.dumps({**entry, "authors": "Me", "clean_acc": "1.0"}), encoding="utf-8")
    command(f"{mine}:model", **options)
    again = json.loads(out.read_text(encoding="utf-8"))
    assert (again["authors"], again["clean_acc"]) == ("Me", "83.33")


@pytest.mark.parametrize("options", [{"n_examples": 100}, {"eps": 0.1}, {"version": "rand"}])
def test_an_entry_of_another_protocol_is_refused_before_the_run(
    mine: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    out = tmp_path / "model_info" / "cifar10" / "Linf" / "Mine2026.json"
    with pytest.raises(PurebenchError, match="expected AutoAttack standard on 10,000 images at the radius 8/255, but"):
        command(f"{mine}:model", model_dir=None, out=out, data_dir=tmp_path, **options)
    assert not out.parent.exists()


def test_a_model_of_the_zoo_needs_a_folder(made: SimpleNamespace) -> None:
    for name in (NAME, None):
        with pytest.raises(PurebenchError, match="expected"):
            command(name, model_dir=None, out=None, data_dir=made.data)


def test_the_command_line_takes_an_own_model(mine: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "purebench", "robustbench", f"{mine}:model", "--data", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "cifar-10-batches-py as published" in " ".join(done.stderr.split())
