"""Do the statistics keep their word? `python benchmarks/statistical.py`

Coverage of every interval, of yes/no answers exactly (a sum over the binomial distribution, at its infimum over p) and
of fractions of draws by simulation; the worst case in simulated worlds (benchmarks/worlds.py); coverage of the
sequences at all of 2,000 looks; widths against an independent implementation; the bias of the worst case and of
resubmission; errors of rank groups; images that a run needs until it is decided; time and memory of a large board.
Everything random comes from --seed, which is printed. A simulated share
is held against its bar with three standard errors of grace. Exit code 1 if a bar is missed.

--quick makes few repeats: it shows that everything runs, and its bars say little.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from math import log, sqrt
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from reporting import Column, Report, fixed, parser, percent, perform, progress, text
from worlds import COLUMNS, RANK_WORLDS, SURE, WORLDS, World, play

from purebench.boards.bundled import bundled
from purebench.results.export import load_results
from purebench.statistics import (
    METHODS,
    Verdict,
    anytime_p_values,
    betting,
    betting_sequence,
    bracket,
    decided,
    empirical_bernstein,
    empirical_bernstein_sequence,
    gaffke,
    holm,
    images_for_power,
    interval,
    least_coverage,
    mcnemar,
    mean_p_value,
    pair_p_values,
    resubmission_per_image,
    robust_accuracy,
    robust_per_image,
    romano_wolf,
)
from purebench.statistics.intervals.bootstrap import binary_ends
from purebench.statistics.intervals.calibration import calibrated

Floats = npt.NDArray[np.float64]

PROPORTIONS = ("clopper-pearson", "wilson", "wilson-cc", "jeffreys", "agresti-coull")
APPROXIMATE = ("wilson-approximate", "jeffreys-approximate", "agresti-coull-approximate")
SIZES = (20, 21, 23, 26, 30, 35, 42, 50, 64, 80, 100, 130, 170, 250, 400, 700, 1200, 2000)
SIMULATED_SIZES = (20, 100, 500, 2000)
DRAWS = 16
BETAS = {
    "beta(0.1, 4.9), mean 2 %": (0.1, 4.9),
    "beta(0.5, 0.5)": (0.5, 0.5),
    "beta(8, 2)": (8.0, 2.0),
    "beta(4.9, 0.1), mean 98 %": (4.9, 0.1),
}
LEAST = 0.945


def grace(share: float, repeats: int) -> float:
    """Three standard errors of a simulated share."""
    return 3 * sqrt(share * (1 - share) / repeats)


def exact_coverage(report: Report, options: argparse.Namespace) -> None:
    """The infimum over p in [0.02, 0.98], for each n."""
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


def samples(kind: tuple[float, float] | float, n: int, repeats: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Values of images: fractions of draws with a beta probability, or yes/no with a fixed one."""
    for _ in range(repeats):
        if isinstance(kind, float):
            yield (rng.random(n) < kind).astype(float)
        else:
            yield rng.binomial(DRAWS, rng.beta(*kind, n)) / DRAWS


def simulated_coverage(report: Report, options: argparse.Namespace) -> None:
    """Intervals that take any values, on draws of beta probabilities and on yes/no answers."""
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
    """Count how often the sequences hold the mean at every look."""
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
    """The hedged capital interval at fixed n on a grid of m, straight from Waudby-Smith & Ramdas 2024: Theorem 3 with
    their truncation c = 1/2, all m at once and value by value; nothing is shared with the package."""
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
    """Betting against the reference and against empirical Bernstein, on the same data."""
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


def bias(report: Report, options: argparse.Namespace) -> None:
    """The split-draw worst case and resubmission@N, under six equal attacks, against the naive minimum."""
    rng = np.random.default_rng([options.seed, 4])
    q = rng.beta(3, 2, 20_000)
    right = rng.random((6, q.size, DRAWS)) < q[:, np.newaxis]
    rows = []
    for what, truth, scores, naive in (
        ("robust accuracy", q.mean(), robust_per_image(right), right.mean(axis=2).min(axis=0)),
        ("resubmission@4", (q**4).mean(), resubmission_per_image(right, 4), right.mean(axis=2).min(axis=0) ** 4),
        ("resubmission@4, one attack", (q**4).mean(), resubmission_per_image(right[:1], 4), right[0].mean(axis=1) ** 4),
    ):
        # the error of the estimate given these images: the truth is that of the same images
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
    """Check the side of the one-sided 97.5 % bound by one p-value, which is quicker than the bound."""
    return (mean_p_value(values, mean) if side == "low" else mean_p_value(1 - values, 1 - mean)) >= 0.025


def split(columns: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """[images]: the scores of plain arrays, whose halves pick for each other; the halves make up the columns."""
    first = rng.hypergeometric(columns, COLUMNS - columns, COLUMNS // 2)
    halves = [np.arange(COLUMNS // 2) < one[..., np.newaxis] for one in (first, columns - first)]
    return robust_per_image(np.concatenate(halves, axis=2))


def _worst_case_row(
    world: World, attacks: int, images: int, seed: list[int], repeats: int, least: float
) -> dict[str, Any]:
    """Repetitions of one board. least: E min_a q, the truth of the bracket."""
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
    """The pick, the headline's interval and the bracket, in each world; images are drawn anew in each repetition."""
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


def unequal_ranks(report: Report, options: argparse.Namespace) -> None:
    """Family-wise error of ranks for rows of equal accuracy whose differences are skewed."""
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


def board(accuracies: Floats, images: int, rng: np.random.Generator) -> Floats:
    """Right or wrong [defenses, images]; half of the answers follow how hard the image is for all."""
    shared = rng.random((accuracies.size, images)) < 0.5
    drawn = np.where(shared, rng.random(images), rng.random((accuracies.size, images)))
    return (drawn < accuracies[:, np.newaxis]).astype(float)


def ranks(report: Report, options: argparse.Namespace) -> None:
    """Count how often equally good defenses are told apart, on ten times as many boards, because they are quick."""
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


def stops(values: Floats, total: int, block: int = 100) -> tuple[int, list[bool]]:
    """The images until no neighbours are open, and which of them are apart."""
    for seen in [*range(block, total, block), total]:
        found = decided(values[:, :seen], total)
        if all(pair.verdict is not Verdict.OPEN for pair in found):
            break
    return seen, [pair.verdict is Verdict.APART for pair in found]


def apart_at(values: Floats) -> list[bool]:
    """The same neighbours by a fixed-size design: exact McNemar tests of all pairs, Holm's correction."""
    pairs = list(combinations(range(values.shape[0]), 2))
    p = [mcnemar(int((values[a] > values[b]).sum()), int((values[a] < values[b]).sum())) for a, b in pairs]
    adjusted = dict(zip(pairs, holm(p).tolist(), strict=True))
    order = np.argsort(-values.mean(axis=1), kind="stable").tolist()
    return [adjusted[min(a, b), max(a, b)] <= 0.05 for a, b in pairwise(order)]


def stopping(report: Report, options: argparse.Namespace) -> None:
    """Images until decided, and those of a fixed-size design of equal power.

    A fixed size must be chosen before the gaps are known, for the smallest that matters: 4 points. Equal power: at
    neighbours 4 points apart it tells as many apart as the stopping run does with its last image. Then the stopping run
    meets a board whose neighbours are 8 points apart.
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


def size(report: Report, options: argparse.Namespace) -> None:
    """100,000 images under 20 attacks with 20 draws, summarised."""
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


PARTS: dict[str, Callable[[Report, argparse.Namespace], None]] = {
    "exact": exact_coverage,
    "simulated": simulated_coverage,
    "any-time": any_time,
    "widths": widths,
    "bias": bias,
    "worst-case": worst_case,
    "skewed-ranks": unequal_ranks,
    "committed-ranks": committed_ranks,
    "ranks": ranks,
    "stopping": stopping,
    "size": size,
}


def main(arguments: list[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--part", action="append", choices=sorted(PARTS), help="only this part; may be repeated (all)")
    made.add_argument("--repeats", type=int, default=1000, help="repeats of a simulation (1000)")
    made.add_argument(
        "--images", type=int, action="append", help="images of the worst case; may be repeated (48 and 500)"
    )
    made.add_argument("--quick", action="store_true", help="few repeats and sizes")
    options = made.parse_args(arguments)
    if options.quick:
        options.repeats = min(options.repeats, 40)
    options.part = options.part or list(PARTS)

    def work(report: Report) -> None:
        print(f"seed {options.seed}, {options.repeats} repeats")
        for name in options.part:
            PARTS[name](report, options)

    return perform("statistical", options, work)


if __name__ == "__main__":
    sys.exit(main())
