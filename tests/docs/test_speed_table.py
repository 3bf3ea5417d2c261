"""Tests that the table of speeds in docs/benchmarks.md has the numbers of its results file."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("purebench", "Foolbox", "ART", "torchattacks", "adversarial-library", "AutoAttack")
MODELS = {"fashion-resnet": "bundled ResNet", "resnet18": "ResNet-18", "vit": "transformer", "convnext": "ConvNeXt"}
STEPS = {"1": 40, "8": 20}


def test_the_table_of_speeds_is_that_of_its_file() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / "speed.json").read_text(encoding="utf-8"))
    rows = found["tables"]["cost of a step ÷ (forward + backward)"]
    assert len(rows) == 16
    for row in rows:
        model, eot, attack = re.fullmatch(r"(\S+), EOT (\d), (\S+)", row["name"]).groups()  # type: ignore[union-attr]
        cells = [f"{row[name]:.2f}" if name in row else "" for name in LIBRARIES]
        cells = [f"{MODELS[model]}, {attack}-{STEPS[eot]}, EOT {eot}", f"**{cells[0]}**", *cells[1:]]
        assert "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" in page
    met = [bar["met"] for bar in found["bars"]]
    assert f"Of {len(met)} bars, {sum(met)} are met" in page
