"""Tests that tables of docs/benchmarks.md have the numbers of their results files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from purebench.results.files.export import load_results

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
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
        least = min(filter(None, cells), key=float)
        cells = [f"**{cell}**" if cell == least else cell for cell in cells]
        cells = [f"{MODELS[model]}, {attack}-{STEPS[eot]}, EOT {eot}", *cells]
        assert "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" in PAGE
    met = [bar["met"] for bar in found["bars"]]
    assert f"Of {len(met)} bars, {sum(met)} are met" in PAGE


def span(values: list[float]) -> str:
    """Return the range of some ratios, as in a sentence."""
    return f"{min(values):.2f} to {max(values):.2f}"


def test_the_speeds_in_the_readme_are_those_of_the_file() -> None:
    tables = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))["tables"]
    ours: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for row in tables["cost of a step ÷ (forward + backward)"]:
        kind = row["name"].partition(", ")[2]
        ours.setdefault(kind, []).append(row["purebench"])
        others.setdefault(kind, []).extend(row[name] for name in LIBRARIES[1:] if name in row)
    alone, peers = ([*found["EOT 1, PGD"], *found["EOT 1, APGD"]] for found in (ours, others))
    assert (
        f"takes {span(alone)} times as long as a forward and a backward pass (the other libraries: {span(peers)})"
        in README
    )
    apgd, peers = ours["EOT 8, APGD"], others["EOT 8, APGD"]
    assert f"our APGD takes {span(apgd)} (the others: {span(peers)})" in README
    times = [
        float(row["ours"].split()[0])
        for name, rows in tables.items()
        if "EOT 8: 20 steps" in name
        for row in rows
        if row["name"] == "adversarial-library PGD"
    ]
    assert len(times) == len(MODELS)
    assert f"our PGD takes {min(times):.3f} to {max(times):.3f} times as long as that of adversarial-library" in README


def test_the_strength_in_the_readme_is_that_of_the_files() -> None:
    told = [guideline(path)[1][2]["difference"] for path in RESULTS.glob("guideline-*.json")]
    most = max(float(text.rpartition(", ")[2].rstrip("]")) for text in told)
    number = NUMBERS[len(told)]
    assert f"On {number} of the nine random rows" in README
    assert f"leaves at most {most:.1f} points more accuracy" in README
    (rows,) = json.loads((RESULTS / "robustbench-protocol.json").read_text(encoding="utf-8"))["tables"].values()
    assert f"breaks the same {len(rows[0]['broken'])} of 64 images" in README
    suites = json.loads((RESULTS / "suites-fashion-quick.json").read_text(encoding="utf-8"))
    (plain,) = (row for row in suites["tables"]["diffpure-ddpm: 48 images"] if "plain-pgd" in row["name"])
    value, _, ends = plain["difference"].replace("+", "").partition(" ")
    assert f"leaves {value} points (90 % interval {ends}) more of `diffpure-ddpm` than a plain PyTorch PGD" in README


def test_autoattacks_package_leaves_about_as_much_as_the_native_attacks() -> None:
    """On the deterministic rows of fashion-linf, as the README says."""
    results = [one for one in load_results(ROOT / "leaderboards/boards/fashion-linf/results") if not one.random]
    less = {}
    for result in results:
        left = {one.name: result.right(one).mean() for one in result.attacks if not one.skipped}
        package = left.pop("autoattack")
        less[result.name] = round(100 * (min(left.values()) - package))
    assert less == {"vae": 1} | dict.fromkeys(set(less) - {"vae"}, 0)
    assert len(less) == 5
    assert "leaves as much as purebench's own attacks on four rows, and 1 point less of `vae`" in README


def guideline(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Return the images and the comparison of a row with the guideline; the row may be named by its spec."""
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"].items()
    found = [(re.fullmatch(r".*: (\d+) images", name), rows) for name, rows in tables]
    ((images, rows),) = ((int(match[1]), rows) for match, rows in found if match)
    return images, list(rows)


def test_the_table_of_the_guideline_is_that_of_its_files() -> None:
    files = list(RESULTS.glob("guideline-*.json"))
    assert files
    for path in files:
        row = path.stem.removeprefix("guideline-")
        images, (headline, _, compared, *_) = guideline(path)
        name = f"`{row}`" if images == 100 else f"`{row}` ({images} images)"
        assert (headline["name"], compared["name"]) == ("headline", "headline − guideline")
        told = compared["difference"].replace("-", "−")
        assert f"| {name} | {100 * headline['accuracy']:.1f} % | {told} |" in PAGE


def test_the_numbers_of_robustbenchs_protocol_are_those_of_their_file() -> None:
    (rows,) = json.loads((RESULTS / "robustbench-protocol.json").read_text(encoding="utf-8"))["tables"].values()
    ours, alone = rows
    low, high = ours["interval"]
    told = " ".join(PAGE.split())
    assert ours["broken"] == alone["broken"]
    assert f"The clean accuracy is {100 * ours['clean']:.1f} %" in told
    broken = f"both leave {100 * ours['robust']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] and break the same"
    assert f"{broken} {len(ours['broken'])} images" in told
