"""Tests of `purebench try`: each fault of a defense fails its probe, valid defenses pass, and nothing is stored."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from purebench.checks.quick import attack_probes
from purebench.cli.main import app
from purebench.core.errors import PurebenchError

from boards import write_board  # isort: skip

DEFENSES = '''
import time
import torch
from purebench import Defense, Function


def identity():
    return Function(lambda x: x, random=False)

def noise():
    return Function(lambda x: (x + 0.05 * torch.randn_like(x)).clamp(0, 1), random=True)

def shared():
    """One choice for all images of a call."""
    return Function(lambda x: (x + 0.1 * torch.rand(1)).clamp(0, 1), random=True)

def crash():
    def purify(x):
        raise RuntimeError("no answer today")
    return Function(purify, random=False)

def wrong_range():
    return Function(lambda x: 255 * x, random=False)

def probabilities(classifier):
    return Defense(lambda x: classifier(x).softmax(1))

def secretly_random():
    return Function(lambda x: (x + 0.05 * torch.randn_like(x)).clamp(0, 1), random=False)

def never_random():
    return Function(lambda x: x, random=True)

def one_class(classifier):
    return Defense(lambda x: classifier(x).roll(1, 1))

def detached():
    return Function(lambda x: x.detach(), random=False)

def rounded():
    return Function(lambda x: (x * 8).round() / 8, random=False)

def rounded_and_says_so():
    return Function(lambda x: (x * 8).round() / 8, random=False, differentiable=False)

class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        return -gradient

def reversed_gradient():
    return Function(Reversed.apply, random=False)

def wrong_size():
    return Function(lambda x: x[..., 1:], random=False)

def slow():
    def purify(x):
        time.sleep(0.05 * len(x))
        return x
    return Function(purify, random=False)
'''


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the defenses and a board of 24 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    write_board(tmp_path, images=24, block=12)
    (tmp_path / "mine.py").write_text(DEFENSES, encoding="utf-8")
    return tmp_path


def tried(defense: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Runs `purebench try`; returns the exit code, and the report with the probes by name."""
    done = CliRunner().invoke(app, ["try", defense, "--board", "board.yaml", "--json", "--seconds", "600", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    report = json.loads(done.stdout)
    return done.exit_code, {**report, "probes": {probe["name"]: probe for probe in report["probes"]}}


def test_a_valid_defense_passes_every_probe_and_nothing_is_stored(own_folder: Path) -> None:
    before = sorted(own_folder.rglob("*.sqlite"))
    code, report = tried("mine.py:noise")
    probes = report["probes"]
    assert (code, report["failed"]) == (0, False)
    assert [probes[name]["result"] for name in ("valid logits", "contract", "randomness", "gradient")] == ["holds"] * 4
    assert probes["randomness"]["numbers"] == {"declared_random": True, "draws_independent": True}
    assert probes["clean accuracy"]["numbers"]["n"] == 24
    assert probes["clean accuracy"]["numbers"]["accuracy"] > 0.5
    assert probes["short attack"]["numbers"]["images"] == 8
    assert probes["short attack"]["numbers"]["eot"] == 4
    assert probes["short attack"]["numbers"]["broken"] >= 2
    assert 0 < probes["valid logits"]["numbers"]["seconds_in_a_batch"] < 1
    assert probes["cost of the board"]["numbers"]["images"] == 24
    assert probes["cost of the board"]["numbers"]["seconds"] > 0
    assert report["next"] == "purebench run board.yaml --defense mine.py:noise"
    assert sorted(own_folder.rglob("*.sqlite")) == before == []


@pytest.mark.parametrize(
    ("name", "probe", "sentence"),
    [
        ("crash", "valid logits", "no answer today (mine.py:"),
        ("wrong_range", "contract", "divide by 255"),
        ("probabilities", "contract", "without the softmax"),
        ("secretly_random", "randomness", "declare random=True"),
        ("never_random", "randomness", "other seeds give the same answers"),
        ("one_class", "clean accuracy", "no better than guessing among 10 classes"),
        ("detached", "gradient", "remove torch.no_grad and detach from the defense, or"),
        ("rounded", "gradient", "differentiable = False"),
        ("reversed_gradient", "gradient", "not the gradient of the defense"),
    ],
)
def test_each_fault_fails_its_probe(name: str, probe: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_probes, "PROBE_OF_BOARD", float("inf"))  # this test does not check the cost
    code, report = tried(f"mine.py:{name}")
    assert (code, report["failed"]) == (1, True)
    assert report["probes"][probe]["result"] == "fails"
    assert sentence in report["probes"][probe]["sentence"]
    assert report["next"] == f"purebench try mine.py:{name} --board board.yaml"


def test_probes_after_a_broken_contract_are_not_run() -> None:
    """The classifier accepts images of another size, so the other probes would report numbers of the fault."""
    code, report = tried("mine.py:wrong_size")
    results = [(probe["name"], probe["result"]) for probe in report["probes"].values()]
    assert code == 1
    assert results[:2] == [("valid logits", "holds"), ("contract", "fails")]
    assert [result for _, result in results[2:]] == ["undecided"] * 5
    assert all("not run" in probe["sentence"] for probe in list(report["probes"].values())[2:])


def test_the_attack_is_not_run_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_probes, "PROBE_OF_BOARD", float("inf"))
    _, report = tried("mine.py:detached")
    assert report["probes"]["short attack"]["sentence"] == "not run: no gradient reaches the images"


def test_shared_draws_are_reported_without_failure() -> None:
    code, report = tried("mine.py:shared")
    assert code == 0
    assert report["probes"]["randomness"]["numbers"]["draws_independent"] is False
    assert "share a random choice" in report["probes"]["randomness"]["sentence"]


def test_a_purifier_without_a_gradient_is_attacked_through_its_surrogate() -> None:
    code, report = tried("mine.py:rounded_and_says_so")
    assert code == 0
    assert (
        report["probes"]["gradient"]["numbers"]["mode"] == report["probes"]["short attack"]["numbers"]["mode"] == "bpda"
    )


def test_probes_beyond_the_time_limit_are_undecided_and_the_next_command_raises_it() -> None:
    code, report = tried("mine.py:slow", "--seconds", "4")
    assert code == 0
    late = [probe for probe in report["probes"].values() if probe["result"] == "undecided"]
    assert {"short attack", "cost of the board"} <= {probe["name"] for probe in late}
    assert "increase --seconds" in report["probes"]["gradient"]["sentence"]
    words = shlex.split(report["next"])
    assert words[:5] == ["purebench", "try", "mine.py:slow", "--board", "board.yaml"]
    assert int(words[words.index("--seconds") + 1]) > 8


def test_the_report_is_a_table_that_ends_with_the_next_command() -> None:
    done = CliRunner().invoke(app, ["try", "mine.py:identity", "--board", "board.yaml"])
    assert done.exit_code == 0
    for word in ("contract", "clean accuracy", "gradient", "short attack", "holds", "measured"):
        assert word in done.stdout
    assert done.stdout.rstrip().endswith("purebench run board.yaml --defense mine.py:identity")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.py:mine"], "expected a Python file, but nowhere.py does not exist"),
        (["mine.py:identiti"], "did you mean 'identity'"),
        (["mine.py:identity", "--seconds", "0"], "--seconds: expected a number above 0"),
        (["mine.py:identity", "--board", "fashion-quik"], "did you mean 'fashion-quick'"),
    ],
)
def test_invalid_input_is_rejected(words: list[str], message: str) -> None:
    """`main` prints such an error on one line, with exit code 2."""
    done = CliRunner().invoke(app, ["try", *words])
    assert isinstance(done.exception, PurebenchError)
    assert message in str(done.exception)
