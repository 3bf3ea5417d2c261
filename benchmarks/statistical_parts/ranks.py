"""Errors of ranks: false differences between rows of equal accuracy, and the power that the guard costs."""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
from common.reporting import Column, Report, fixed, progress, text

from purebench.boards.bundled import bundled
from purebench.results.files.export import load_results
from purebench.statistics import pair_p_values, romano_wolf
from statistical_parts.sampling import board, grace
from statistical_parts.worlds import RANK_WORLDS


def unequal_ranks(report: Report, options: argparse.Namespace) -> None:
    """Simulate the family-wise error of ranks for rows of equal accuracy with skewed differences."""
    rows = []
    sizes = (48,) if options.quick else (20, 48, 100, 250, 500, 2000)
    with progress() as bars:
        bar = bars.add_task("skewed ranks", total=len(RANK_WORLDS) * len(sizes) * options.repeats)
        for number, (what, world) in enumerate(RANK_WORLDS.items()):
            for n in sizes:
                wrong = 0
                for repeat in range(options.repeats):
                    values = world(8, n, np.random.default_rng([options.seed, 11, number, n, repeat]))
                    wrong += pair_p_values(values, seed=repeat, resamples=399).min() <= 0.05
                    bars.advance(bar)
                rows.append({"what": what, "n": n, "wrong": wrong / options.repeats})
    columns: list[Column] = [("what", "8 rows", text), ("n", "images", text), ("wrong", "family-wise error", fixed(3))]
    report.show(f"Ranks of equal rows, {options.repeats} repetitions", rows, columns)
    error = max(float(row["wrong"]) for row in rows)
    chance = grace(0.06, options.repeats) if options.repeats < 2000 else 0.0
    report.told(f"ranks of skewed rows: family-wise error {error:.3f} <= 0.06", error, met=bool(error <= 0.06 + chance))


def committed_ranks(report: Report, options: argparse.Namespace) -> None:
    """Count the pairs of rows of the committed boards that differ significantly, with and without the guard."""
    rows = []
    for name, path in bundled().items():
        results = load_results(path.parent / "results") if (path.parent / "results").is_dir() else []
        if results:
            values = np.array([result.scores() for result in results])
            differences = np.array([a - b for a, b in combinations(values, 2)])
            pairs = np.triu_indices(len(values), 1)
            rows.append(
                {
                    "board": name,
                    "alone": int((romano_wolf(differences) <= 0.05).sum()),
                    "guarded": int((pair_p_values(values)[pairs] <= 0.05).sum()),
                }
            )
    columns: list[Column] = [
        ("board", "board", text),
        ("alone", "sign flips alone", text),
        ("guarded", "guarded", text),
    ]
    report.show("Pairs of rows that are told apart", rows, columns)
    alone, guarded = (sum(int(row[key]) for row in rows) for key in ("alone", "guarded"))
    report.told(f"the guard keeps {guarded} of {alone} >= 85 %", guarded / alone, met=guarded >= 0.85 * alone)


def ranks(report: Report, options: argparse.Namespace) -> None:
    """Count false differences between equally good defenses, on ten times as many boards because they are quick."""
    repeats = 10 * options.repeats
    rows = []
    cases = (("all equal", np.full(8, 0.6)), ("one clear winner", np.array([0.85] + [0.6] * 7)))
    for number, (what, accuracies) in enumerate(cases):
        wrong = 0
        with progress() as bars:
            bar = bars.add_task(f"rank groups, {what}", total=repeats)
            for repeat in range(repeats):
                rng = np.random.default_rng([options.seed, 5, number, repeat])
                p = pair_p_values(board(accuracies, 200, rng), seed=repeat, resamples=999)
                equal = np.flatnonzero(accuracies == 0.6)
                wrong += any(p[a, b] <= 0.05 for a, b in combinations(equal, 2))
                bars.advance(bar)
        rows.append({"what": what, "wrong": wrong / repeats})
        error = wrong / repeats
        met = bool(error <= 0.05 + grace(0.05, repeats))
        report.told(f"rank groups, {what}: family-wise error {error:.3f} <= 0.05 within chance", error, met=met)
    columns: list[Column] = [("what", "8 defenses, 200 images", text), ("wrong", "family-wise error", fixed(3))]
    report.show(f"Rank groups, {repeats} repeats", rows, columns)
