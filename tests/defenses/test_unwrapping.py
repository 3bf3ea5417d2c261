"""Tests that the weights of published checkpoints are unwrapped, and that it is said how."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from purebench.defenses.unwrapping import unwrap, with_counters

FLAT = {"a.weight": torch.ones(2), "b": torch.zeros(1)}


def prefixed(prefix, state=FLAT):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (FLAT, ()),
        ({"state_dict": FLAT, "epoch": 3}, ("took 'state_dict'",)),
        ({"model": prefixed("raw."), "ema": FLAT}, ("took 'ema', not 'model'",)),
        ({"ema": None, "model": FLAT}, ("took 'model'",)),
        ({"model_state_dict": prefixed("module.")}, ("took 'model_state_dict'", "removed the prefix 'module.'")),
        (prefixed("_orig_mod.module."), ("removed the prefix '_orig_mod.'", "removed the prefix 'module.'")),
        ({"net": {"state_dict": FLAT}}, ("took 'net'", "took 'state_dict'")),
    ],
)
def test_weights_and_notes(content, notes):
    found = unwrap(content)
    assert found.state.keys() == FLAT.keys()
    assert all(torch.equal(found.state[name], value) for name, value in FLAT.items())
    assert found.notes == notes


def test_half_precision_is_noted_and_other_prefixes_are_removed_on_request():
    found = unwrap({name: value.half() for name, value in prefixed("model.").items()}, "model.")
    assert found.state.keys() == FLAT.keys()
    assert found.notes == ("removed the prefix 'model.'", "converted 2 tensors of 16 bits to float32")
    assert unwrap(prefixed("model.")).state.keys() == prefixed("model.").keys()
    some = {**prefixed("module."), "other": torch.ones(1)}
    assert unwrap(some).state.keys() == some.keys()


def test_missing_counters_of_batches_are_added_and_nothing_else():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    state = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    found = with_counters(unwrap(state), model.state_dict())
    assert found.state.keys() == model.state_dict().keys()
    assert found.notes == ("added 2 counters of batches (num_batches_tracked), as zeros",)
    del state["0.weight"]
    assert "0.weight" not in with_counters(unwrap(state), model.state_dict()).state
    assert with_counters(unwrap(model.state_dict()), model.state_dict()).notes == ()


def test_content_without_weights_is_returned_as_it_is():
    assert unwrap({"epoch": 3, "options": {}}).state == {"epoch": 3, "options": {}}
