"""Tests that a killed training is resumed as if it had not been killed, and only with the settings it began with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from purebench.core.errors import PurebenchError

from tiny_training import RECIPE, Killed, killed_at, run, state_of  # isort: skip


@pytest.mark.parametrize("step", [1, 2, 7, 12])
def test_resumed_training_gives_the_same_weights_as_an_uninterrupted_one(tmp_path, step):
    undisturbed = run(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        run(tmp_path / "killed", killed_at(step))
    assert (tmp_path / "killed" / "tiny.state.pt").exists() is (step > 1)
    assert not (tmp_path / "killed" / "tiny.safetensors").exists()
    spent = state_of(tmp_path / "killed")["seconds"] if step > 1 else 0.0
    resumed = run(tmp_path / "killed")
    assert resumed.read_bytes() == undisturbed.read_bytes()
    state = state_of(tmp_path / "killed")
    assert state["step"] == 12
    assert state["seconds"] > spent
    assert [row["step"] for row in state["log"]] == list(range(1, 13))
    seconds = [row["seconds"] for row in state["log"]]
    assert seconds == sorted(seconds)


def test_kill_loses_only_the_steps_after_the_last_save(tmp_path):
    seldom = replace(RECIPE, save_every=3600.0)
    with pytest.raises(Killed):
        run(tmp_path, killed_at(7, seldom))
    assert not list(tmp_path.iterdir())
    run(tmp_path, seldom)
    assert state_of(tmp_path)["step"] == 12


def test_mismatched_and_damaged_states_are_rejected_and_kept(tmp_path):
    run(tmp_path, steps=3)
    path = tmp_path / "tiny.state.pt"
    whole = path.read_bytes()
    for changed, words in (
        ({"seed": 1}, "with seed 1, but it began with seed 0; continue with the same settings, delete the file"),
        ({"steps": 6}, "with budget --steps 6, but it began with budget --steps 3; "),
        ({"recipe": replace(RECIPE, architecture={"width": 5})}, r"architecture {'width': 5}, but .* {'width': 3}; "),
        ({"recipe": replace(RECIPE, rate=0.1, precision="bf16")}, "rate 0.1, precision bf16, but .* float32; "),
        ({"recipe": replace(RECIPE, factors={"norm": 0.5})}, r"factors {'norm': 0.5}, but it began with factors {}; "),
    ):
        with pytest.raises(PurebenchError, match=rf"tiny\.state\.pt: .*{words}"):
            run(tmp_path, **{"steps": 3, **changed})
        assert path.read_bytes() == whole
    for damage in (whole[: len(whole) // 2], b"", b"garbage" * 50):
        path.write_bytes(damage)
        with pytest.raises(PurebenchError, match=r"tiny\.state\.pt: .*damaged file.*delete it to start anew"):
            run(tmp_path)
        assert path.read_bytes() == damage


def test_a_training_is_not_continued_on_another_kind_of_device(tmp_path):
    """The card states the device, and generators of other devices give other numbers."""
    run(tmp_path, steps=3)
    state = state_of(tmp_path)
    elsewhere = {**json.loads(state["settings"]), "device": "cuda"}
    torch.save({**state, "settings": json.dumps(elsewhere)}, tmp_path / "tiny.state.pt")
    with pytest.raises(PurebenchError, match="with device cpu, but it began with device cuda; "):
        run(tmp_path, steps=3)
