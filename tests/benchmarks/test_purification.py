"""The benchmark of purifiers measures each in a process of its own, and tells what could not be measured."""

from __future__ import annotations

import json

import pytest
import torch

from purebench import registry
from purebench.registry import Spec


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_bundled_purifier_is_measured(script, tmp_path):
    path = tmp_path / "found.json"
    flags = ["--case", "vae", "--images", "2", "--repeats", "1", "--default-malloc", "--json", str(path)]
    assert script("purification").main(flags) == 0
    (rows,) = json.loads(path.read_text())["tables"].values()
    (row,) = rows
    vae = registry.create("defenses", Spec("vae"))
    assert row["parameters"] == sum(parameter.numel() for parameter in vae.parameters()) / 1e6
    assert 0 < row["forward"] < 10
    assert 0 < row["backward"] < 10
    assert 0 < row["forward_memory"] <= row["backward_memory"] < 2
