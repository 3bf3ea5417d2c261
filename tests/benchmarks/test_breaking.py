"""Tests of the benchmark of `purebench break`: the faults keep the answers, and the committed figures meet the bar."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from purebench.attack_search.controls import BUNDLED, read_controls
from purebench.core.registry import Spec, create
from purebench.data.datasets import fashion_mnist

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import breaking  # isort: skip

SAME = [name for name in breaking.FAULTS if name not in ("wrong_surrogate", "per_call") and "noise" not in name]


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(breaking.PARTS)


@pytest.mark.parametrize("name", SAME)
def test_a_fault_leaves_the_predicted_classes_unchanged(name: str) -> None:
    images = torch.as_tensor(fashion_mnist(split="dev").take(range(20)).floats())
    made, plain = (create("defenses", Spec.parse(breaking.of(n)), classifier=None) for n in (name, "plain"))
    with torch.no_grad():
        assert (made(images).argmax(1) == plain(images).argmax(1)).all()


@pytest.mark.skipif(not BUNDLED.is_file(), reason="no controls were measured")
def test_the_committed_controls_are_faults_of_the_benchmark_and_most_are_broken() -> None:
    controls = read_controls()
    assert {one.name for one in controls} <= set(breaking.FAULTS)
    counted = [one for one in controls if one.board > breaking.ABOVE]
    assert sum(one.broken for one in counted) >= breaking.SHARE * len(counted)


@pytest.mark.slow
def test_a_decoy_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    words = ["--only", "decoy", "--minutes", "10", "--images", "24", "--store", str(tmp_path / "store")]
    assert breaking.main(words) == 0
