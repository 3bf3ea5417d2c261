"""The accuracy under the worst attack of each image: bias, picks, interval of the robust accuracy, and bracket."""

from __future__ import annotations

import argparse
import resource
from math import sqrt
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from common.reporting import Column, Report, fixed, percent, progress, text

from purebench.statistics import (
    bracket,
    gaffke,
    mean_p_value,
    resubmission_per_image,
    robust_accuracy,
    robust_per_image,
)
from statistical_parts.sampling import DRAWS, Floats, grace
from statistical_parts.worlds import COLUMNS, SURE, WORLDS, World, play


def bias(report: Report, options: argparse.Namespace) -> None:
    """Compare the split-draw worst case and resubmission@N with the naive minimum under six equal attacks."""
    rng = np.random.default_rng([options.seed, 4])
    q = rng.beta(3, 2, 20_000)
    right = rng.random((6, q.size, DRAWS)) < q[:, np.newaxis]
    rows = []
    for what, truth, scores, naive in (
        ("robust accuracy", q.mean(), robust_per_image(right), right.mean(axis=2).min(axis=0)),
        ("resubmission@4", (q**4).mean(), resubmission_per_image(right, 4), right.mean(axis=2).min(axis=0) ** 4),
        ("resubmission@4, one attack", (q**4).mean(), resubmission_per_image(right[:1], 4), right[0].mean(axis=1) ** 4),
    ):
        # the truth is conditional on these images, and so is the error
        exact = q if what == "robust accuracy" else q**4
        error = float((scores - exact).std() / sqrt(q.size))
        rows.append({"what": what, "truth": truth, "ours": scores.mean(), "naive": naive.mean(), "error": error})
        report.at_most(f"{what}: bias in standard errors", abs(float((scores - exact).mean())) / error, 3.5)
    columns: list[Column] = [
        ("what", "estimate", text),
        *((k, k, percent) for k in ("truth", "ours", "naive", "error")),
    ]
    report.show(f"Bias with {DRAWS} draws, {q.size} images", rows, columns)
    off = 100 * abs(rows[0]["naive"] - rows[0]["truth"])
    report.told(f"the naive minimum is off by {off:.1f} > 3 points", float(off), met=bool(off > 3))


def covers(values: Floats, mean: float, side: str) -> bool:
    """Check by a p-value on which side of the one-sided 97.5 % bound the truth is; quicker than the bound."""
    return (mean_p_value(values, mean) if side == "low" else mean_p_value(1 - values, 1 - mean)) >= 0.025


def split(columns: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Return the scores [images] of plain arrays: each half of the columns picks the attack scored on the other."""
    first = rng.hypergeometric(columns, COLUMNS - columns, COLUMNS // 2)
    halves = [np.arange(COLUMNS // 2) < one[..., np.newaxis] for one in (first, columns - first)]
    return robust_per_image(np.concatenate(halves, axis=2))


def _worst_case_row(
    world: World, attacks: int, images: int, seed: list[int], repeats: int, least: float
) -> dict[str, Any]:
    """Summarise repetitions of one board. least: E min_a q, the true value for the bracket."""
    lowest, fresh, scores, chosen, regrets = [], [], [], [], []
    single = np.zeros(attacks)
    for repeat in range(repeats):
        rng = np.random.default_rng([*seed, attacks, images, repeat])
        q = world(attacks, images, rng)
        played = play(q, rng)
        lowest.append(played.lowest)
        fresh.append(played.fresh)
        scores.append(split(played.columns, rng))
        chosen.append(float(played.chosen.mean()))
        regrets.append(chosen[-1] - float(q.min(axis=0).mean()))
        single += q.mean(axis=1) / repeats
    target = float(np.mean(chosen))
    below = np.array([covers(values, least, "low") for values in lowest])
    few = max(20, repeats // 20)
    return {
        "attacks": attacks,
        "n": images,
        "regret": float(np.mean(regrets)),
        "excess": target - float(single.min()),
        "headline": float(np.mean([covers(x, target, "low") and covers(x, target, "high") for x in fresh])),
        "bracket": float((below & [covers(values, least, "high") for values in fresh]).mean()),
        "plain": float((below & [covers(values, least, "high") for values in scores]).mean()),
        "own": float(np.mean([2 * gaffke(values).half_width for values in fresh[:few]])),
        "width": float(
            np.mean([2 * bracket(*ends).half_width for ends in zip(lowest[:few], fresh[:few], strict=True)])
        ),
    }


def worst_case(report: Report, options: argparse.Namespace) -> None:
    """Simulate picks, interval and bracket in each world, with other images in each repetition."""
    rows = []
    sizes = options.images or ((48,) if options.quick else (48, 500))
    with progress() as bars:
        bar = bars.add_task("worst case", total=len(WORLDS) * 2 * len(sizes))
        for number, (what, world) in enumerate(WORLDS.items()):
            for attacks in (5, 9):
                rng = np.random.default_rng([options.seed, 9, number, attacks])
                least = float(
                    np.mean([world(attacks, 20_000, rng).min(axis=0).mean() for _ in range(5 if options.quick else 50)])
                )
                for n in sizes:
                    rows.append(_worst_case_row(world, attacks, n, [options.seed, 10, number], options.repeats, least))
                    rows[-1]["world"] = what
                    bars.advance(bar)
    columns: list[Column] = [
        ("world", "world", text),
        ("attacks", "attacks", text),
        ("n", "images", text),
        ("regret", "regret of the pick", percent),
        ("excess", "headline less strongest attack", percent),
        ("headline", "headline covers", fixed(3)),
        ("bracket", "bracket covers", fixed(3)),
        ("plain", "of plain arrays", fixed(3)),
        ("own", "width of the headline", percent),
        ("width", "width of the bracket", percent),
    ]
    report.show(f"Worst case, {COLUMNS} columns, {options.repeats} repetitions", rows, columns)
    chance = grace(0.94, options.repeats) if options.repeats < 2000 else 0.0
    for key, what in (("headline", "headline"), ("bracket", "bracket"), ("plain", "bracket of plain arrays")):
        covered = min(float(row[key]) for row in rows)
        report.told(f"{what} covers: {covered:.3f} >= 0.94", covered, met=bool(covered >= 0.94 - chance))
    sure, others = ([row for row in rows if (row["world"] in SURE) == kind] for kind in (True, False))
    report.at_most("regret in points: alike, coin, dominant", 100 * max(row["regret"] for row in sure), 0.7)
    report.at_most("regret in points: the other worlds", 100 * max(row["regret"] for row in others), 3)
    report.at_most("headline less the strongest attack, in points", 100 * max(row["excess"] for row in rows), 0.3)
    for kind, limit in ((("dominant",), 10), ([name for name in WORLDS if name != "dominant"], 25)):
        widths = [100 * row["width"] for row in rows if row["n"] == 500 and row["world"] in kind]
        if widths:
            report.at_most(f"width of the bracket at 500 images, in points: {', '.join(kind)}", max(widths), limit)


def size(report: Report, options: argparse.Namespace) -> None:
    """Measure time and memory for 100,000 images under 20 attacks with 20 draws."""
    images = 2_000 if options.quick else 100_000
    rng = np.random.default_rng([options.seed, 8])
    right = np.empty((20, images, 20), dtype=np.bool_)
    for attack in right:
        attack[:] = rng.integers(0, 256, attack.shape, dtype=np.uint8) < 200
    began = perf_counter()
    found = robust_accuracy(right, deterministic=False)
    seconds = perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row = {"what": f"{images} images × 20 attacks × 20 draws: {found.percent()}", "seconds": seconds, "memory": memory}
    columns: list[Column] = [
        ("what", "board", text),
        ("seconds", "s", fixed(2)),
        ("memory", "peak GB of all this", fixed(2)),
    ]
    report.show("Size", [row], columns)
    report.at_most("seconds to summarise it", seconds, 5)
    report.at_most("peak GB of the whole process", memory, 2)
