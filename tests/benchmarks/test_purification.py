"""Tests the benchmark of purifiers, which measures each one in a separate process."""

from __future__ import annotations

import json

import pytest
import torch

from purebench.core import registry
from purebench.core.registry import Spec


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_bundled_purifier_is_measured(script, tmp_path):
    path = tmp_path / "found.json"
    flags = ["--case", "vae", "--images", "2", "--repeats", "1", "--default-malloc", "--json", str(path)]
    assert script("purification").main(flags) == 0
    (rows,) = json.loads(path.read_text(encoding="utf-8"))["tables"].values()
    (row,) = rows
    vae = registry.create("defenses", Spec("vae"))
    assert row["parameters"] == sum(parameter.numel() for parameter in vae.parameters()) / 1e6
    assert 0 < row["forward"] < 10
    assert 0 < row["backward"] < 10
    assert 0 < row["forward_memory"] <= row["backward_memory"] < 2


def test_costs_of_the_catalogue_include_the_classifier(script, tmp_path, monkeypatch):
    purification = script("purification")
    assert purification.bundled_defenses().keys() >= {"none", "trades", "vae", "smoothing"}
    assert not purification.bundled_defenses().keys() & {"art", "vote", "before", "mlvgm", "robustbench"}
    monkeypatch.setattr(purification, "bundled_defenses", lambda: {"jpeg": purification.whole("jpeg")})
    path, found = tmp_path / "costs.json", tmp_path / "found.json"
    flags = ["--declared", "--images", "3", "--repeats", "1", "--costs", str(path), "--json", str(found)]
    assert purification.main(flags) == 0
    ((row,),) = json.loads(found.read_text(encoding="utf-8"))["tables"].values()
    costs = json.loads(path.read_text(encoding="utf-8"))
    assert costs["ms"] == {"jpeg": pytest.approx(1000 * row["forward"], rel=5e-3)}
    assert costs["command"].startswith("python benchmarks/purification.py")
    classifier = registry.create("classifiers", Spec("fashion-resnet"))
    assert row["parameters"] == sum(parameter.numel() for parameter in classifier.parameters()) / 1e6


@pytest.mark.parametrize("flags", [["--declared", "--case", "vae"], ["--costs", "costs.json"]])
def test_incompatible_flags_are_rejected(script, flags, capsys):
    with pytest.raises(SystemExit):
        script("purification").main(flags)
    assert "--declared" in capsys.readouterr().err
