"""Tests the training loop on a model of 50 weights: written files, budgets, progress and seeds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from purebench.core.errors import PurebenchError
from purebench.defenses import checkpoints
from purebench.defenses.training.loop import rate_at

from tiny_training import CPU, RECIPE, Killed, Tiny, images, killed_at, loss, quality, run, state_of  # isort: skip


def test_weights_log_and_card_are_written(tmp_path):
    weights = run(tmp_path / "new" / "folder", steps=60)
    out = weights.parent
    assert sorted(path.name for path in out.iterdir()) == [
        "tiny.log.jsonl",
        "tiny.md",
        "tiny.safetensors",
        "tiny.state.pt",
    ]
    model = checkpoints.load(str(weights), "tiny", Tiny)
    assert quality(model, images(split="test", folder=None), CPU)["clean accuracy, 48 test images"] >= 0.9
    rows = [json.loads(line) for line in (out / "tiny.log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert set(rows[0]) == {"step", "seconds", "loss", "share", "norm"}
    assert np.mean([row["loss"] for row in rows[-10:]]) < 0.7 * np.mean([row["loss"] for row in rows[:10]])
    card = (out / "tiny.md").read_text(encoding="utf-8")
    for words in (
        "# tiny\n",
        "purebench train tiny --steps 60 --precision float32 --seed 0 --device cpu",
        "A model for tests.",
        "made here",
        "60 steps of 16 images",
        '`{"width": 3}`',
        "| clean accuracy, 48 test images |",
    ):
        assert words in card


def test_seed_determines_the_weights(tmp_path):
    first, again, other = (run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_minutes_limit_the_training_time(tmp_path):
    first = run(tmp_path, steps=None, minutes=0.002).read_bytes()
    state = state_of(tmp_path)
    assert 0.12 <= state["seconds"] < 5
    assert run(tmp_path, steps=None, minutes=0.002).read_bytes() == first
    assert state_of(tmp_path)["step"] == state["step"], "the budget was spent"


def test_recipe_is_called_by_keywords_and_has_a_default_budget(tmp_path):
    recipe = replace(RECIPE, minutes=0.001)
    assert recipe(out=tmp_path, device=CPU, minutes=None, seed=0, folder=None) == tmp_path / "tiny.safetensors"
    assert "--minutes 0.001 " in (tmp_path / "tiny.md").read_text(encoding="utf-8")
    recipe(out=tmp_path / "b", device=CPU, minutes=None, seed=0, folder=None, steps=3)
    assert state_of(tmp_path / "b")["step"] == 3


def test_training_does_not_change_the_random_state_of_the_caller(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(tmp_path, steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_images_are_not_trained_on(tmp_path):
    seen = set()

    def watch(model, x, labels, share):
        seen.update(round(float(value), 4) for value in x.amax(dim=(1, 2, 3)))
        return loss(model, x, labels, share)

    def marked(*, split, folder):
        data = images(split=split, folder=folder)
        data.images[:] = np.arange(48).reshape(-1, 1, 1, 1)
        return data

    run(tmp_path, replace(RECIPE, loss=watch, data=marked), steps=40)
    assert seen == {round(value / 255, 4) for value in range(40)}


def test_learning_rate_warms_up_and_then_follows_a_cosine():
    assert rate_at(0) == 0
    assert rate_at(0.015) == pytest.approx(0.5 * 0.5 * (1 + math.cos(0.015 * math.pi)))
    assert rate_at(0.03) == pytest.approx(0.5 * (1 + math.cos(0.03 * math.pi)))
    assert rate_at(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert rate_at(0.5) == pytest.approx(0.5)
    assert rate_at(1) == pytest.approx(0, abs=1e-12)
    assert rate_at(1.2) == pytest.approx(0, abs=1e-12)
    after = [rate_at(share) for share in np.linspace(0.03, 1, 50)]
    assert after == sorted(after, reverse=True)


def test_share_of_the_budget_sets_the_learning_rate_and_is_passed_to_the_loss(tmp_path):
    run(tmp_path, steps=10)
    state = state_of(tmp_path)
    assert [row["share"] for row in state["log"]] == pytest.approx([step / 10 for step in range(10)], abs=1e-5)
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.05 * rate_at(0.9))


@pytest.mark.parametrize("ema", [0.999, 0.5])
def test_saved_weights_are_the_moving_average(tmp_path, ema):
    """average_k = keep·average_(k-1) + (1 - keep)·w_k, keep = min(ema, k/(k+10)), from average_0 = w_0."""
    history = []

    def watch(model, x, labels, share):
        history.append({name: value.clone() for name, value in model.state_dict().items()})
        return loss(model, x, labels, share)

    weights = run(tmp_path, replace(RECIPE, loss=watch, ema=ema), steps=30)
    state = state_of(tmp_path)
    history.append(state["model"])
    for name, average in state["average"].items():
        if not average.is_floating_point():
            assert int(average) == int(history[-1][name])
            continue
        expected = history[0][name].double()
        for step, now in enumerate(history[1:], 1):
            keep = min(ema, step / (step + 10))
            expected = keep * expected + (1 - keep) * now[name].double()
        assert torch.allclose(average, expected.float(), atol=1e-6), name
        assert torch.equal(load_file(weights)[name], average.half())


def test_progress_without_a_terminal_is_printed_in_a_few_lines(tmp_path, capsys):
    run(tmp_path, steps=30)
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == ""
    assert lines[0] == "tiny 0%, step 0"
    assert lines[-2].startswith("tiny 100%, step 30 loss ")
    assert lines[-1] == "tiny 100%, measuring its quality on the test images"
    assert len(lines) == 3, "30 steps in less than 20 seconds are not 30 lines"
    with pytest.raises(Killed):
        run(tmp_path / "killed", killed_at(31), steps=40)
    capsys.readouterr()
    run(tmp_path / "killed", steps=40)
    assert capsys.readouterr().err.splitlines()[0] == "tiny 75%, step 30"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"minutes": value, "steps": None}, "--minutes: expected a finite number") for value in (0, -1, math.nan)),
        ({"minutes": math.inf, "steps": None}, "--minutes: expected a finite number"),
        ({"steps": 0}, "--steps: expected a number above 0, but got 0"),
        ({"recipe": replace(RECIPE, held_out=48)}, "expected more than 48 training images, but got 48"),
    ],
)
def test_invalid_values_are_rejected_and_write_no_files(tmp_path, options, message):
    with pytest.raises(PurebenchError, match=message):
        run(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_out_that_is_a_file_is_rejected(tmp_path):
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"--out: expected a folder to write to, but got .*taken"):
        run(tmp_path / "taken")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


def test_non_finite_loss_stops_training_without_writing_weights(tmp_path):
    def exploding(model, x, labels, share):
        return {"loss": loss(model, x, labels, share)["loss"] * (math.nan if share > 0.5 else 1)}

    with pytest.raises(PurebenchError, match=r"tiny: expected finite losses, but got .*nan.*; train at a lower rate"):
        run(tmp_path, replace(RECIPE, loss=exploding), steps=10)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.state.pt"]
    assert state_of(tmp_path)["step"] == 6
    assert all(value.isfinite().all() for value in state_of(tmp_path)["model"].values())
