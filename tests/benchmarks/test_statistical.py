"""Tests the benchmark of the statistics: its reference, its bars and its exit code."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from purebench.statistics import betting


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_quick_runs_write_tables_and_bars(script, tmp_path):
    path = tmp_path / "found.json"
    flags = ["--quick", "--part", "bias", "--part", "size", "--part", "ranks", "--repeats", "25", "--seed", "3"]
    assert script("statistical").main([*flags, "--default-malloc", "--json", str(path)]) == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["settings"]["seed"] == 3
    assert len(found["tables"]) == 3
    assert len(found["bars"]) == 8
    assert all(bar["met"] for bar in found["bars"])
    robust = next(rows for title, rows in found["tables"].items() if title.startswith("Bias"))[0]
    assert robust["naive"] < robust["truth"] - 0.03


def test_a_missed_bar_gives_exit_code_1(script, monkeypatch):
    statistical = script("statistical")
    # scoring a picked attack on the draws that picked it is biased (winner's curse)
    monkeypatch.setattr(
        script("statistical_parts.worst_case"), "robust_per_image", lambda right: right.mean(axis=2).min(axis=0)
    )
    assert statistical.main(["--quick", "--part", "bias", "--default-malloc"]) == 1


def test_the_reference_interval_has_nearly_the_same_width_as_betting(script):
    values = np.random.default_rng(0).beta(4, 2, 300)
    width = 2 * betting(values).half_width
    assert script("statistical_parts.intervals").reference_width(values) == pytest.approx(width, rel=0.03)


def test_the_bars_of_the_worst_case_hold_in_a_short_run(script, tmp_path):
    path = tmp_path / "found.json"
    flags = ["--quick", "--part", "worst-case", "--part", "skewed-ranks", "--repeats", "15", "--seed", "1"]
    assert script("statistical").main([*flags, "--default-malloc", "--json", str(path)]) == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = next(rows for title, rows in found["tables"].items() if title.startswith("Worst case"))
    assert {row["world"] for row in rows} >= {"alike", "dominant", "coin", "spread 0.5", "spread 1"}
    assert all(bar["met"] for bar in found["bars"])


def test_scoring_picks_on_the_draws_that_picked_them_misses_the_bars(script, monkeypatch):
    statistical, worst_case = script("statistical"), script("statistical_parts.worst_case")
    play = worst_case.play

    def naive(q, rng):
        played = play(q, rng)
        return replace(played, fresh=played.lowest)  # the smallest fraction of the draws that picked

    monkeypatch.setattr(worst_case, "play", naive)
    assert statistical.main(["--quick", "--part", "worst-case", "--repeats", "10", "--default-malloc"]) == 1
