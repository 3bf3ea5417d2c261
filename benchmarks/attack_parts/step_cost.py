"""Measures the cost of a step of PGD and APGD over that of a forward and a backward pass, where no image is broken."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common.reporting import Report, fixed, text
from scipy import stats

from attack_parts.contestants import Contestant, Task, taking_part
from attack_parts.subjects import speed_subject
from attack_parts.timing import UNIT, UNIT_PASSES, find_clock, measure
from purebench.core.threat import ThreatModel

KINDS = ("pgd", "apgd")
TINY_RADIUS, NOISE = 1e-6, 0.02
BAR = 1.10
"""Largest ratio of purebench's cost to forward + backward."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Size:
    """The numbers of images, of steps of every attack, and of rounds."""

    images: int
    steps: int
    rounds: int


SIZES = {
    ("fashion-resnet", 1): Size(64, 40, 7),
    ("fashion-resnet", 8): Size(8, 20, 7),
    ("resnet18", 1): Size(2, 40, 6),
    ("resnet18", 8): Size(1, 20, 6),
    ("vit", 1): Size(8, 40, 7),
    ("vit", 8): Size(2, 20, 7),
    ("convnext", 1): Size(32, 40, 7),
    ("convnext", 8): Size(8, 20, 7),
}
"""Sizes by model and EOT; six rounds are the fewest with an interval. All take about ten minutes on one idle core."""
MODELS = tuple(dict.fromkeys(model for model, _ in SIZES))


@dataclass(frozen=True)
class Ratio:
    """The median of ratios that were measured in the same rounds, and its 95 % confidence interval.

    The interval is that of order statistics. With fewer than six rounds, for which it does not exist, it is the range.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float]) -> Ratio:
        """Return the ratio of the first to the second, which have one value for each round."""
        each = np.divide(first, second)
        found = stats.quantile_test(each, q=1, p=0.5).confidence_interval(CONFIDENCE)
        low, high = (each.min(), each.max()) if np.isnan([found.low, found.high]).any() else (found.low, found.high)
        return cls(float(np.median(each)), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.2f}, {self.high:.2f}]"


def described(options: argparse.Namespace, count: int, repeats: int) -> str:
    """Describe a measurement, for a title."""
    _, clock = find_clock(options.device, options.threads)
    where = f"{options.threads} thread(s)" if options.device.type == "cpu" else str(options.device)
    return f"{count} images, {where}, {clock}, median of {repeats}"


def model_cost(report: Report, options: argparse.Namespace, model: str, eot: int) -> list[dict[str, Any]]:
    """Measure one model; return a row of the summary for PGD and one for APGD."""
    size = SIZES[model, eot]
    size = Size(options.images or size.images, options.steps or size.steps, options.repeats or size.rounds)
    noise = NOISE if eot > 1 else 0.0
    subject = speed_subject(model, size.images, noise=noise, device=options.device, seed=options.seed)
    task = Task(subject, ThreatModel("linf", TINY_RADIUS), size.steps, eot)
    clock, _ = find_clock(options.device, options.threads)
    label = f"{model}, EOT {eot}"
    tasks = {one.name: (one, task) for one in taking_part(report.missing)}
    found = measure(tasks, subject, size.rounds, clock, report.missing, label)
    seconds = {name: [each / (size.steps * eot) for each in timed.seconds] for name, timed in found.items()}
    seconds[UNIT] = [each / UNIT_PASSES for each in found[UNIT].seconds]
    ratios = {name: Ratio.of(each, seconds[UNIT]) for name, each in seconds.items()}
    those = [one for one, _ in tasks.values() if one.name in found]
    rows: list[dict[str, Any]] = [{"name": UNIT, "ms": 1000 * statistics.median(seconds[UNIT])}]
    for one in those:
        row = {"name": one.name, "ms": 1000 * statistics.median(seconds[one.name]), "ratio": ratios[one.name].median}
        row |= {"interval": str(ratios[one.name]), "eot": one.eot if eot > 1 else None}
        row |= {"gradients": found[one.name].gradients / task.nominal}
        row |= {"forwards": found[one.name].forwards / task.nominal}
        rows.append(row)
    for mine in (one for one in those if one.ours):
        report.at_most(f"{label}: {mine.name} ÷ (forward + backward)", ratios[mine.name].median, BAR)
        peers = [one for one in those if one.kind == mine.kind and not one.ours]
        for peer in peers:
            ratio = Ratio.of(seconds[mine.name], seconds[peer.name])
            next(row for row in rows if row["name"] == peer.name)["ours"] = str(ratio)
            # equal costs differ by chance: the bar is missed if ours is significantly higher
            report.told(f"{label}: {mine.name} ÷ {peer.name} = {ratio}", ratio.median, met=ratio.low <= 1)
        if not peers:
            report.told(f"{label}: nobody to compare {mine.kind} with", 0.0, met=False)
    columns = (
        ("name", "", text),
        ("ms", "ms a pass", fixed(2)),
        ("interval", "÷ (forward + backward)", text),
        ("ours", "purebench ÷ it", text),
        ("gradients", "gradients", fixed(2)),
        ("forwards", "forwards", fixed(2)),
        ("eot", "EOT by", text),
    )
    report.show(f"{label}: {size.steps} steps, {described(options, size.images, size.rounds)}", rows, columns)
    return [_summary(label, kind, those, ratios) for kind in KINDS]


def _summary(label: str, kind: str, those: Sequence[Contestant], ratios: dict[str, Ratio]) -> dict[str, Any]:
    """Return the ratios of all libraries to forward + backward."""
    values = {one.name.rpartition(" ")[0]: ratios[one.name].median for one in those if one.kind == kind}
    return {"name": f"{label}, {kind.upper()}", **values}


def every_model(report: Report, options: argparse.Namespace) -> None:
    """Measure the requested models, else all, and show all ratios in one table."""
    rows = [
        row
        for model, eot in SIZES
        if model in (options.model or MODELS) and eot in (options.eot or (1, 8))
        for row in model_cost(report, options, model, eot)
    ]
    libraries = dict.fromkeys(name for row in rows for name in row if name != "name")
    report.show(
        "cost of a step ÷ (forward + backward)", rows, [("name", "", text), *((n, n, fixed(3)) for n in libraries)]
    )
