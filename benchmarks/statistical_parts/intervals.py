"""Coverage and widths of the intervals: exact, simulated, and for sequences at all looks."""

from __future__ import annotations

import argparse
from math import log, sqrt
from typing import Any

import numpy as np
from common.reporting import Column, Report, fixed, progress, text

from purebench.statistics import (
    METHODS,
    betting,
    betting_sequence,
    empirical_bernstein,
    empirical_bernstein_sequence,
    interval,
    least_coverage,
)
from purebench.statistics.intervals.bootstrap import binary_ends
from purebench.statistics.intervals.calibration import calibrated
from statistical_parts.sampling import BETAS, LEAST, Floats, grace, samples

PROPORTIONS = ("clopper-pearson", "wilson", "wilson-cc", "jeffreys", "agresti-coull")

APPROXIMATE = ("wilson-approximate", "jeffreys-approximate", "agresti-coull-approximate")

SIZES = (20, 21, 23, 26, 30, 35, 42, 50, 64, 80, 100, 130, 170, 250, 400, 700, 1200, 2000)

SIMULATED_SIZES = (20, 100, 500, 2000)


def exact_coverage(report: Report, options: argparse.Namespace) -> None:
    """Compute the infimum of the coverage over p in [0.02, 0.98], for each n."""
    sizes = SIZES[::5] if options.quick else SIZES
    rows = []
    with progress() as bars:
        bar = bars.add_task("exact coverage", total=len(sizes) * (len(PROPORTIONS) + len(APPROXIMATE) + 1))
        for name in (*PROPORTIONS, "bca", *APPROXIMATE):
            least = []
            for n in sizes:
                if name == "bca":
                    low, high = binary_ends(np.arange(n + 1), n, calibrated(binary_ends, n, 0.95))
                else:
                    answers = (np.repeat([1.0, 0.0], [k, n - k]) for k in range(n + 1))
                    found = [interval(values, name) for values in answers]
                    low, high = np.array([e.low for e in found]), np.array([e.high for e in found])
                least.append(least_coverage(low, high))
                bars.advance(bar)
            worst = int(np.argmin(least))
            rows.append({"method": name, "least": least[worst], "n": sizes[worst]})
            if name not in APPROXIMATE:
                report.told(
                    f"{name}: least exact coverage {least[worst]:.4f} >= {LEAST}",
                    least[worst],
                    met=bool(least[worst] >= LEAST),
                )
    columns: list[Column] = [
        ("method", "yes/no answers", text),
        ("least", "least coverage", fixed(4)),
        ("n", "at n", text),
    ]
    report.show(f"Exact coverage at 95 %, infimum over p in [0.02, 0.98], n in {list(sizes)}", rows, columns)


def simulated_coverage(report: Report, options: argparse.Namespace) -> None:
    """Simulate intervals for values in [0,1], on fractions of draws and on binary answers."""
    kinds: dict[str, tuple[float, float] | float] = {**BETAS, "yes/no, 2 %": 0.02, "yes/no, 60 %": 0.6}
    names = [name for name in METHODS if name not in PROPORTIONS]
    rows = []
    with progress() as bars:
        bar = bars.add_task("simulated coverage", total=len(kinds) * len(SIMULATED_SIZES) * len(names))
        for number, (what, kind) in enumerate(kinds.items()):
            mean = kind if isinstance(kind, float) else kind[0] / sum(kind)
            for n in SIMULATED_SIZES:
                row: dict[str, Any] = {"values": what, "n": n}
                for name in names:
                    repeats = options.repeats if n <= 500 else max(20, options.repeats // 4)
                    rng = np.random.default_rng([options.seed, 1, number, n])
                    found = [interval(values, name) for values in samples(kind, n, repeats, rng)]
                    row[name] = sum(e.low <= mean <= e.high for e in found) / repeats
                    row["repeats"] = repeats
                    bars.advance(bar)
                rows.append(row)
    columns: list[Column] = [("values", "values", text), ("n", "n", text)]
    report.show("Simulated coverage at 95 %", rows, columns + [(name, name, fixed(3)) for name in names])
    for name in names:
        worst = min(rows, key=lambda row: row[name] + grace(LEAST, row["repeats"]))
        report.told(
            f"{name}: least simulated coverage {worst[name]:.3f} ({worst['values']}, n = {worst['n']}) is not "
            f"below {LEAST} by more than chance",
            worst[name],
            met=bool(worst[name] >= LEAST - grace(LEAST, worst["repeats"])),
        )


def any_time(report: Report, options: argparse.Namespace) -> None:
    """Count how often the sequences cover the mean at every look."""
    repeats, looks = max(20, options.repeats // 2), 2000
    sequences = {"betting-sequence": betting_sequence, "empirical-bernstein-sequence": empirical_bernstein_sequence}
    rows = []
    for name, sequence in sequences.items():
        for number, kind in enumerate((0.02, 0.5, (0.5, 0.5))):
            mean = kind if isinstance(kind, float) else kind[0] / sum(kind)
            held = 0
            for values in samples(kind, looks, repeats, np.random.default_rng([options.seed, 2, number])):
                low, high = sequence(values)
                held += bool(((low <= mean) & (mean <= high)).all())
            rows.append({"method": name, "values": str(kind), "held": held / repeats})
    columns: list[Column] = [
        ("method", "sequence", text),
        ("values", "values", text),
        ("held", "held at all looks", fixed(3)),
    ]
    report.show(f"Coverage at all of {looks} looks, {repeats} repeats", rows, columns)
    least = min(float(row["held"]) for row in rows)
    report.told(
        f"sequences hold at all looks: {least:.3f} >= 0.95 within chance",
        least,
        met=bool(least >= 0.95 - grace(0.95, repeats)),
    )


def reference_width(values: Floats, alpha: float = 0.05, step: float = 5e-4) -> float:
    """Return the width of the hedged capital interval at fixed n, on a grid of m.

    Waudby-Smith & Ramdas 2024, Theorem 3 with their truncation c = 1/2, value by value; no code of the package is used.
    """
    m = np.arange(step, 1, step)
    inside = np.ones(m.size, dtype=bool)
    above, below = np.zeros(m.size), np.zeros(m.size)
    total, squares = 0.5, 0.25
    for t, x in enumerate(values, start=1):
        stake = sqrt(2 * log(2 / alpha) * t / (values.size * squares))
        above += np.log1p(np.minimum(stake, 0.5 / m) * (x - m))
        below += np.log1p(-np.minimum(stake, 0.5 / (1 - m)) * (x - m))
        inside &= np.maximum(above, below) < log(2 / alpha)
        total += x
        squares += (x - total / (t + 1)) ** 2
    kept = m[inside]
    return float(kept[-1] - kept[0]) + step


def widths(report: Report, options: argparse.Namespace) -> None:
    """Compare betting with the reference and with empirical Bernstein on the same data."""
    repeats = 3 if options.quick else 10
    rows = []
    for number, (what, kind) in enumerate((*BETAS.items(), ("yes/no, 60 %", 0.6))):
        for n in (100, 500, 2000):
            data = list(samples(kind, n, repeats, np.random.default_rng([options.seed, 3, number, n])))
            row: dict[str, Any] = {
                "values": what,
                "n": n,
                "betting": np.mean([2 * betting(x).half_width for x in data]),
            }
            row["reference"] = np.mean([reference_width(x) for x in data])
            row["bernstein"] = np.mean([2 * empirical_bernstein(x).half_width for x in data])
            row["largest"] = max(2 * betting(x).half_width / reference_width(x) for x in data)
            ends = [(betting_sequence(x, resolution=2e-4), empirical_bernstein_sequence(x)) for x in data]
            row["sequence"] = np.mean([bet[1][-1] - bet[0][-1] for bet, _ in ends])
            row["sequence_eb"] = np.mean([other[1][-1] - other[0][-1] for _, other in ends])
            rows.append(row)
    number_columns = ("betting", "reference", "bernstein", "sequence", "sequence_eb")
    report.show(
        "Mean widths", rows, [("values", "values", text), ("n", "n", text), *((k, k, fixed(4)) for k in number_columns)]
    )
    report.at_most(
        "betting's mean width over the reference's, largest of the rows",
        max(row["betting"] / row["reference"] for row in rows),
        1.05,
    )
    report.below(
        "betting's mean width over empirical Bernstein's, largest of the rows",
        max(row["betting"] / row["bernstein"] for row in rows),
        1.0,
    )
