"""Tests of the signal-to-noise ratio of gradients."""

import json

import torch


def test_the_ratio_is_that_of_gaussian_gradients(script):
    """20 images, 16 draws: |μ|² = 9 · 4 values, variance 4 of each of 9 values; without a signal it is about 0."""
    generator = torch.Generator().manual_seed(0)
    noise = 2 * torch.randn(20, 16, 1, 3, 3, generator=generator)
    ratio = script("attack_parts.gradient_noise").ratio
    assert abs(ratio(noise + 2) - 1) < 0.15
    assert abs(ratio(noise)) < 0.05


def test_a_board_is_measured(script, tmp_path):
    noise = script("attack_parts.gradient_noise")
    flags = ["--defense", "noise", "--defense", "jpeg", "--images", "2", "--draws", "3", "--threads", "1"]
    assert noise.main([*flags, "--json", str(tmp_path / "found.json")]) == 0
    (table,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["tables"].values()
    assert [(row["name"], row["where"]) for row in table] == [("noise", "clean"), ("noise", "random")]
    assert all(abs(row["eot 4"] - 4 * row["eot 1"]) < 1e-9 for row in table)
