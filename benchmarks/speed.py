"""Measures the cost of PGD and APGD beside their peers: `python benchmarks/speed.py` (see tools/peers.sh).

    tools/peers.sh /tmp/peers                            an environment with all peers, once
    /tmp/peers/bin/python benchmarks/speed.py --part ratio --part overhead --part breakable --json speed.json
    /tmp/peers/bin/python benchmarks/speed.py --part ratio --model vit --eot 1

ratio      PGD and APGD with EOT 1 and 8 on the bundled ResNet (1×32×32), and on a ResNet-18, a small vision transformer
           and a small ConvNeXt (3×32×32, random weights), at a radius of 1e-6 so that no image is broken.
           Cost ÷ (steps × EOT × (forward + backward to the input of all images at once)). Bars: purebench ≤ 1.10 on
           each model, and not significantly above any peer: the 95 % interval of the median ratio of the two, taken
           within rounds, starts at 1 or below.
overhead   ms per step beyond forward + backward, on a linear model and 128 images. Bar: below the best peer of a kind.
breakable  whole attacks on the bundled ResNet at a usual radius, where images are broken and may be dropped. Bar: at
           most half of the best peer's time; the remaining accuracy is shown beside it.
bookkeeping
           `purebench show`, the page and the export on a synthetic store of 10,000 images × 20 rows × 10 attacks ×
           16 draws, each in a new process: processor time ≤ 3 s and ≤ 15 s, peak
           memory ≤ 800 MB, and at most 1.1 times as much time per image as on a fifth of the images.
checkpoint the exact gradient of DiffPure beside torch.utils.checkpoint on every step of the same chain, 9 rounds: time
           ≤ 1.03 times, and peak memory at 100 steps ≤ 1.1 times that at 10 (each measured in a new process).

All attack the same frozen model, with the cost of counting gradients; a column shows how many gradients of images each
computed, over images × steps × EOT. The unit is measured on that model. One round runs every contestant once, and the
starting position rotates. Ratios are taken within a round, and their median is compared. Exit code 1 if a bar is
missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from attack_parts import bookkeeping
from attack_parts import checkpoint as chain
from attack_parts.contestants import Contestant, Task, taking_part
from attack_parts.step_cost import MODELS, TINY_RADIUS, described, every_model
from attack_parts.subjects import Subject, answers, speed_subject
from attack_parts.timing import UNIT, UNIT_PASSES, Timed, find_clock, measure
from common.reporting import Report, fixed, parser, percent, perform, text

from purebench.core.threat import ThreatModel, parse_radius

PARTS = ("ratio", "overhead", "breakable", "checkpoint", "bookkeeping")
STEPS = {"pgd": 40, "apgd": 50}
SHARE_BAR = 0.5


def sized(options: argparse.Namespace, images: int, repeats: int) -> tuple[int, int]:
    """Return images and rounds: those of the flags, else the defaults."""
    return options.images or images, options.repeats or repeats


def timed(
    report: Report, options: argparse.Namespace, subject: Subject, radius: float, eot: int, repeats: int, label: str
) -> tuple[dict[str, tuple[Contestant, Task]], dict[str, Timed]]:
    """Return the tasks and times of all contestants that can be imported."""
    threat = ThreatModel("linf", radius)
    tasks = {
        one.name: (one, Task(subject, threat, options.steps or STEPS[one.kind], eot))
        for one in taking_part(report.missing)
    }
    clock, _ = find_clock(options.device, options.threads)
    return tasks, measure(tasks, subject, repeats, clock, report.missing, label)


def unit_seconds(found: dict[str, Timed]) -> list[float]:
    """Return the seconds of one forward + backward in each round."""
    return [seconds / UNIT_PASSES for seconds in found[UNIT].seconds]


def lowest(
    tasks: dict[str, tuple[Contestant, Task]], values: dict[str, float], kind: str
) -> tuple[str | None, str | None]:
    """Return the names of ours and of the peer with the lowest value of this kind; None if there is none."""
    those = {name: one for name, (one, _) in tasks.items() if one.kind == kind and name in values}
    mine = [name for name, one in those.items() if one.ours]
    peers = [name for name, one in those.items() if not one.ours]
    return (mine[0] if mine else None), min(peers, key=values.__getitem__, default=None)


def overhead(report: Report, options: argparse.Namespace) -> None:
    """Measure the ms per step beyond forward + backward on a linear model."""
    count, repeats = sized(options, 128, 25)
    subject = speed_subject("tiny", count, noise=0.0, device=options.device, seed=options.seed)
    tasks, found = timed(report, options, subject, TINY_RADIUS, 1, repeats, "overhead")
    units = unit_seconds(found)
    beyond: dict[str, float] = {}
    rows: list[dict[str, Any]] = [{"name": UNIT, "ms": 1000 * statistics.median(units)}]
    for name, (_, task) in tasks.items():
        if name not in found:
            continue
        each = [1000 * (took / task.steps - base) for took, base in zip(found[name].seconds, units, strict=True)]
        beyond[name] = statistics.median(each)
        row = {"name": f"{name}-{task.steps}", "ms": 1000 * found[name].median / task.steps, "beyond": beyond[name]}
        row |= {"range": f"{min(each):.2f}–{max(each):.2f}", "gradients": found[name].gradients / task.nominal}
        rows.append(row)
    columns = (
        ("name", "", text),
        ("ms", "ms a step", fixed(2)),
        ("beyond", "ms beyond", fixed(2)),
        ("range", "range", text),
        ("gradients", "gradients", fixed(2)),
    )
    report.show(f"overhead on a linear model: {described(options, count, repeats)}", rows, columns)
    for kind in STEPS:
        mine, best = lowest(tasks, beyond, kind)
        if mine and best:
            report.below(f"overhead, ms: {mine} below {best}", beyond[mine], beyond[best])
        else:
            report.told(f"overhead: nobody to compare {kind} with", 0.0, met=False)


def breakable(report: Report, options: argparse.Namespace) -> None:
    """Measure whole attacks during which images are broken."""
    count, repeats = sized(options, 128, 5)
    radius = parse_radius(options.radius)
    subject = speed_subject("fashion-resnet", count, noise=0.0, device=options.device, seed=options.seed)
    label = f"breakable, linf {options.radius}"
    tasks, found = timed(report, options, subject, radius, 1, repeats, label)
    seconds = {name: found[name].median for name in tasks if name in found}
    rows: list[dict[str, Any]] = []
    for name, (one, task) in tasks.items():
        if name not in found:
            continue
        _, best = lowest(tasks, seconds, one.kind)
        each = [took / other for took, other in zip(found[name].seconds, found[best or name].seconds, strict=True)]
        answer = found[name].answer
        assert answer is not None
        held = float((answers(subject.model, answer, 1)[:, 0] == subject.y).float().mean())
        share = statistics.median(each)
        row: dict[str, Any] = {"name": f"{name}-{task.steps}", "seconds": seconds[name], "share": share}
        row |= {"gradients": found[name].gradients / task.nominal, "accuracy": held}
        rows.append(row)
        if one.ours and not best:
            report.told(f"{label}: nobody to compare {one.kind} with", 0.0, met=False)
        elif one.ours:
            report.at_most(f"{label}: {name} ÷ {best}, whole attack", share, SHARE_BAR)
    columns = (
        ("name", "", text),
        ("seconds", "seconds", fixed(2)),
        ("share", "÷ best peer", fixed(2)),
        ("gradients", "gradients", fixed(2)),
        ("accuracy", "accuracy left", percent),
    )
    report.show(f"{label}: {described(options, count, repeats)}", rows, columns)


def checkpoint(report: Report, options: argparse.Namespace) -> None:
    """Compare the exact gradient of DiffPure with torch's own checkpoints."""
    count, repeats = sized(options, chain.IMAGES, chain.REPEATS)
    clock, _ = find_clock(options.device, options.threads)
    taken, difference = chain.seconds(options, clock)
    ratios = [own / other for own, other in zip(*taken.values(), strict=True)]
    rows: list[dict[str, Any]] = [{"name": name, "seconds": statistics.median(each)} for name, each in taken.items()]
    rows[0] |= {"ratio": statistics.median(ratios), "range": f"{min(ratios):.3f}–{max(ratios):.3f}"}
    columns = [("name", "", text), ("seconds", "seconds", fixed(2)), ("ratio", "ratio", fixed(3))]
    title = f"checkpoint, {options.steps or chain.TIMED} steps: {described(options, count, repeats)}"
    report.show(title, rows, [*columns, ("range", "range", text)])
    peaks = chain.memory(options)
    columns = [("name", "", text), ("network", "network", text), ("images", "images", text)]
    columns += [(key, f"MB at {steps} steps", fixed(1)) for key, steps in (("few", chain.FEW), ("many", chain.MANY))]
    report.show("checkpoint, peak memory beyond the model", peaks, [*columns, ("growth", "ratio", fixed(2))])
    report.at_most("checkpoint: time ÷ torch.utils.checkpoint", statistics.median(ratios), chain.TIME_BAR)
    report.at_most("checkpoint: difference of the gradients ÷ the largest value", difference, chain.SAME)
    growth = f"checkpoint: {chain.WIDE}, peak memory at {chain.MANY} steps ÷ at {chain.FEW}"
    report.at_most(growth, peaks[-1]["growth"], chain.MEMORY_BAR)


def main(arguments: list[str] | None = None) -> int:
    """Run the requested parts; the exit code says whether every bar was met."""
    made = parser(__doc__)
    made.add_argument("--part", action="append", choices=PARTS, help="what to measure, may be repeated (all)")
    made.add_argument("--model", action="append", choices=MODELS, help="ratio: the model, may be repeated (all)")
    made.add_argument("--eot", action="append", type=int, choices=(1, 8), help="ratio: draws a step, likewise (both)")
    made.add_argument("--images", type=int, help="images attacked (by part and model: 1 to 128)")
    made.add_argument(
        "--steps", type=int, help="steps of every attack (ratio: 40, with EOT 8 20; else PGD 40, APGD 50)"
    )
    made.add_argument("--repeats", type=int, help="rounds (by part and model: 5 to 25)")
    made.add_argument("--radius", default="8/255", help="breakable: the linf radius (8/255)")
    options = made.parse_args(arguments)
    return perform("speed", options, lambda report: every(report, options))


def every(report: Report, options: argparse.Namespace) -> None:
    """Run the requested parts, else all."""
    parts = options.part or PARTS
    if "ratio" in parts:
        every_model(report, options)
    if "overhead" in parts:
        overhead(report, options)
    if "breakable" in parts:
        breakable(report, options)
    if "checkpoint" in parts:
        checkpoint(report, options)
    if "bookkeeping" in parts:
        bookkeeping.measure(report, options)


if __name__ == "__main__":
    sys.exit(main())
