"""Tests of the benchmark of `purebench break`: the faults keep the answers, and the committed figures meet the bar."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from purebench.attack_search.controls import BUNDLED, read_controls
from purebench.attacks.views.stand_in import inner_modules
from purebench.core.registry import create
from purebench.data.datasets import fashion_mnist

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import breaking  # isort: skip

SAME = [name for name in breaking.FAULTS if name not in ("wrong-surrogate", "decoy-ensemble") and "noise" not in name]
FEW = argparse.Namespace(minutes=2.0, images=24)


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(breaking.PARTS)


@pytest.mark.parametrize("name", SAME)
def test_a_fault_leaves_the_predicted_classes_unchanged(name: str) -> None:
    images = torch.as_tensor(fashion_mnist(split="dev").take(range(20)).floats())
    fault = breaking.FAULTS[name]
    made, plain = (create("defenses", use) for use in (fault.use, fault.plain))
    with torch.no_grad():
        assert (made(images).argmax(1) == plain(images).argmax(1)).all()


@pytest.mark.parametrize("name", ["detached-noise", "one-hot-noise", "decoy-noise"])
def test_a_fault_behind_noise_is_random_and_keeps_the_predicted_class_of_each_draw(name: str) -> None:
    images = torch.as_tensor(fashion_mnist(split="dev").take(range(100)).floats())
    fault = breaking.FAULTS[name]
    made, plain = (create("defenses", use) for use in (fault.use, fault.plain))
    assert made.random
    drawn = []
    with torch.no_grad():
        for defense in (made, plain):
            torch.manual_seed(0)
            drawn.append(defense(images))
        assert any((made(images) != made(images)).any() for _ in range(30))
    assert (drawn[0].argmax(1) == drawn[1].argmax(1)).all()


def test_a_hidden_classifier_is_no_part_that_can_be_attacked_in_its_place() -> None:
    images = torch.as_tensor(fashion_mnist(split="dev").take(range(2)).floats())
    hidden, visible = (create("defenses", breaking.FAULTS[name].use) for name in ("hidden-labels", "one-hot"))
    assert inner_modules(hidden, images) == ["classifier"]
    assert "classifier.classifier" in inner_modules(visible, images)


def test_faults_that_were_not_measured_are_written_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaking, "BUNDLED", tmp_path / "controls.json")
    done = breaking.MeasuredFault(
        name="decoy", random=False, minutes=2, images=24, seconds_per_pass=1e-3, truth=0.2, board=0.6, confirmed=0.2
    )
    breaking.write([done], [replace(done, name="memory", board=0.5)], FEW)
    found = {one.name: one for one in read_controls(tmp_path / "controls.json")}
    assert list(found) == list(breaking.FAULTS)
    assert {name for name, one in found.items() if one.measured} == {"decoy", "memory"}
    assert found["memory"].board == 0.5
    assert found["decoy-noise"].random
    assert not found["one-hot"].random
    assert not found["one-hot"].broken


@pytest.mark.skipif(not BUNDLED.is_file(), reason="no controls were measured")
def test_the_committed_controls_are_the_faults_of_the_benchmark_and_most_measured_ones_are_broken() -> None:
    controls = read_controls()
    assert [one.name for one in controls] == list(breaking.FAULTS)
    counted = breaking.missed_by_board(controls)
    assert sum(one.broken for one in counted) >= breaking.SHARE * len(counted)


@pytest.mark.slow
def test_a_decoy_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    words = ["--only", "decoy", "--minutes", "10", "--images", "24", "--store", str(tmp_path / "store")]
    assert breaking.main(words) == 0
