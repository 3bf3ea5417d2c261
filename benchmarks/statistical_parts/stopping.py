"""Images that a run needs until it is decided, compared with a fixed-size design of equal power."""

from __future__ import annotations

import argparse
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from common.reporting import Column, Report, fixed, percent, text

from purebench.statistics import Verdict, anytime_p_values, decided, holm, images_for_power, mcnemar
from statistical_parts.sampling import Floats, board, grace


def stops(values: Floats, total: int, block: int = 100) -> tuple[int, list[bool]]:
    """Return the number of images until all neighbours are decided, and which of them differ significantly."""
    for seen in [*range(block, total, block), total]:
        found = decided(values[:, :seen], total)
        if all(pair.verdict is not Verdict.OPEN for pair in found):
            break
    return seen, [pair.verdict is Verdict.APART for pair in found]


def apart_at(values: Floats) -> list[bool]:
    """Test the same neighbours in a fixed-size design: exact McNemar tests of all pairs with Holm's correction."""
    pairs = list(combinations(range(values.shape[0]), 2))
    p = [mcnemar(int((values[a] > values[b]).sum()), int((values[a] < values[b]).sum())) for a, b in pairs]
    adjusted = dict(zip(pairs, holm(p).tolist(), strict=True))
    order = np.argsort(-values.mean(axis=1), kind="stable").tolist()
    return [adjusted[min(a, b), max(a, b)] <= 0.05 for a, b in pairwise(order)]


def stopping(report: Report, options: argparse.Namespace) -> None:
    """Compare the images of a stopping run with those of a fixed-size design of equal power.

    A fixed size must be chosen before the gaps are known, for the smallest that matters: 4 points. Equal power: at
    neighbours 4 points apart it detects as many differences as the stopping run at its end. Then the stopping run
    is applied to a board whose neighbours are 8 points apart.
    """
    repeats = 2 if options.quick else 20
    gap, places = 0.04, np.arange(12)
    total = int(1.4 * images_for_power(gap, 0.5, 0.9, comparisons=66))
    rng = np.random.default_rng([options.seed, 6])
    planned = [board(0.28 + gap * places, total, rng) for _ in range(repeats)]
    stopped = [stops(values, total, 200) for values in planned]
    power = float(np.mean([apart for _, apart in stopped]))
    fixed_size = total
    for size in range(total // 40, total, total // 40):
        if np.mean([apart_at(values[:, :size]) for values in planned]) >= power:
            fixed_size = size
            break
    tied = 0.1 + 2 * gap * np.array([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10])
    boards = {
        "8 points apart": [stops(board(0.06 + 2 * gap * places, total, rng), total) for _ in range(repeats)],
        "8 points apart, two tied": [stops(board(tied, total, rng), total) for _ in range(repeats)],
        "4 points apart": stopped,
    }
    rows: list[dict[str, Any]] = []
    for what, found in boards.items():
        used = float(np.mean([images for images, _ in found]))
        apart = float(np.mean([told for _, told in found]))
        rows.append({"what": what, "used": used, "fixed": fixed_size, "share": used / fixed_size, "apart": apart})
    columns: list[Column] = [
        ("what", "12 defenses", text),
        ("used", "images used", fixed(0)),
        ("fixed", "fixed size", text),
        ("share", "share", percent),
        ("apart", "pairs told apart", percent),
    ]
    report.show(f"Until decided, at most {total} images, power {power:.2f} at 4 points", rows, columns)
    report.at_most("until decided, images used of those of a fixed size of equal power", rows[0]["share"], 0.5)
    wrong, many = 0, max(20, options.repeats // 4)
    for repeat in range(many):
        values = board(np.full(12, 0.6), 1000, np.random.default_rng([options.seed, 7, repeat]))
        p = anytime_p_values(np.array([values[a] - values[b] for a, b in combinations(range(12), 2)]))
        wrong += float(holm(p).min()) <= 0.05
    error = wrong / many
    what = f"until decided, 12 equal defenses, a look at every image: error {error:.3f} <= 0.05 within chance"
    report.told(what, error, met=bool(error <= 0.05 + grace(0.05, many)))
