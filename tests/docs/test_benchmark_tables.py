"""Tests that tables of docs/benchmarks.md have the numbers of their results files."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = ("purebench", "Foolbox", "ART", "torchattacks", "adversarial-library", "AutoAttack")
MODELS = {"fashion-resnet": "bundled ResNet", "resnet18": "ResNet-18", "vit": "transformer", "convnext": "ConvNeXt"}
STEPS = {"1": 40, "8": 20}


def test_the_table_of_speeds_is_that_of_its_file() -> None:
    found = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
    rows = found["tables"]["cost of a step ÷ (forward + backward)"]
    assert len(rows) == 16
    for row in rows:
        model, eot, attack = re.fullmatch(r"(\S+), EOT (\d), (\S+)", row["name"]).groups()  # type: ignore[union-attr]
        cells = [f"{row[name]:.2f}" if name in row else "" for name in LIBRARIES]
        cells = [f"{MODELS[model]}, {attack}-{STEPS[eot]}, EOT {eot}", f"**{cells[0]}**", *cells[1:]]
        assert "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" in PAGE
    met = [bar["met"] for bar in found["bars"]]
    assert f"Of {len(met)} bars, {sum(met)} are met" in PAGE


def test_the_table_of_the_guideline_is_that_of_its_files() -> None:
    files = list(RESULTS.glob("guideline-*.json"))
    assert files
    for path in files:
        row = path.stem.removeprefix("guideline-")
        headline, _, compared, *_ = json.loads(path.read_text(encoding="utf-8"))["tables"][f"{row}: 100 images"]
        assert (headline["name"], compared["name"]) == ("headline", "headline − guideline")
        told = compared["difference"].replace("-", "−")
        assert f"| `{row}` | {100 * headline['accuracy']:.1f} % | {told} |" in PAGE


def test_the_numbers_of_robustbenchs_protocol_are_those_of_their_file() -> None:
    (rows,) = json.loads((RESULTS / "robustbench-protocol.json").read_text(encoding="utf-8"))["tables"].values()
    ours, alone = rows
    low, high = ours["interval"]
    told = " ".join(PAGE.split())
    assert ours["broken"] == alone["broken"]
    assert f"The clean accuracy is {100 * ours['clean']:.1f} %" in told
    broken = f"both leave {100 * ours['robust']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] and break the same"
    assert f"{broken} {len(ours['broken'])} images" in told
