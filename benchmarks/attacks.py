"""What the attacks cost, beside their peers: attack ÷ (steps × (forward + backward to the input)), side by side.

    python benchmarks/attacks.py --steps 40 --images 64 --repeats 5 --threads 1

Everything runs on the bundled ResNet, on correctly classified images, at a radius so small (1e-6) that no image is ever
broken and leaves: the ratio is the attack's whole cost, overhead included. One repeat times every contestant once, and
the one that goes first moves on by one each time; the medians are compared. Exit code 1 if native APGD-CE costs more
than the bar. On one thread the time is the process's CPU time, which other work on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from purebench.attacks.apgd import APGD
from purebench.attacks.from_art import from_art
from purebench.attacks.from_foolbox import from_foolbox
from purebench.attacks.losses import cross_entropy
from purebench.attacks.pgd import PGD
from purebench.attacks.view import exact
from purebench.datasets import fashion_mnist
from purebench.defense import as_defense
from purebench.defenses.resnet import fashion_resnet
from purebench.protocols import Attack
from purebench.seeds import seeded
from purebench.threat import ThreatModel

BAR = 1.10
BARRED = "purebench APGD-CE"
UNIT = "forward + backward"
THREAT = ThreatModel("linf", 1e-6)


def contestants(steps: int, images: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each call does its whole work once."""
    defense = as_defense(fashion_resnet())
    part = fashion_mnist()
    x, y = torch.as_tensor(part.floats()), torch.as_tensor(part.labels)
    with torch.no_grad():
        right = torch.cat([defense(some).argmax(1) for some in x[: 2 * images].split(64)]) == y[: 2 * images]
    x, y = x[: 2 * images][right][:images], y[: 2 * images][right][:images]

    def unit() -> None:
        for _ in range(steps):
            leaf = x.clone().requires_grad_()
            torch.autograd.grad(cross_entropy(defense(leaf), y).sum(), leaf)

    def run(attack: Attack) -> Callable[[], object]:
        return lambda: attack(exact(defense), x, y, THREAT)

    relative = 2.5 / steps
    art_pgd = from_art(
        "ProjectedGradientDescentPyTorch",
        max_iter=steps,
        eps_step=relative * THREAT.radius,
        num_random_init=1,
        batch_size=images,
    )
    return {
        UNIT: unit,
        BARRED: run(APGD(steps=steps)),
        "purebench PGD": run(PGD(steps=steps)),
        "Foolbox LinfPGD": run(from_foolbox("LinfPGD", steps=steps, rel_stepsize=relative)),
        "ART PGD": run(art_pgd),
    }


def measure(works: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds by the clock of each work at each repeat, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in track(range(repeats + 1), description="measuring", console=Console(stderr=True)):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with seeded("benchmark", str(number)):
                began = clock()
                works[name]()
                took = clock() - began
            if number:
                seconds[name].append(took)
    return seconds


def main() -> int:
    """Measures, prints the table, and says by the exit code whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("steps", 40), ("images", 64), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    seconds = measure(contestants(options.steps, options.images), options.repeats, clock)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {name: value / median[UNIT] for name, value in median.items()}
    table = Table(title=f"{options.steps} steps, {options.images} images, {options.threads} thread(s), median")
    for column in ("", "seconds", "ms/step", "ratio", "range", "bar"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, value in median.items():
        each = [took / unit for took, unit in zip(seconds[name], seconds[UNIT], strict=True)]
        bar = "" if name != BARRED else f"≤ {BAR:.2f}: {'met' if ratios[name] <= BAR else 'missed'}"
        spread = f"{min(each):.2f}–{max(each):.2f}"
        table.add_row(name, f"{value:.2f}", f"{1000 * value / options.steps:.1f}", f"{ratios[name]:.3f}", spread, bar)
    Console().print(table)
    return 0 if ratios[BARRED] <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
