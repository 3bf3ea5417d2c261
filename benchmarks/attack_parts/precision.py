"""Compares attacks in bf16 and float32: `python benchmarks/attacks.py precision --device cuda`.

The same attack runs in float32 and in bf16 (`View.precision`), on the bundled classifier and on three bundled
purifiers, block by block in alternating order after a short run to warm up. Every answer is verified in float32, on the
same fresh draws. Images that are misclassified without an attack are among them, as on a board. The ratio of the times
is the median over the blocks with its interval (processor time on one thread, else wall time), and the difference in
robust accuracy has a bootstrap interval over images.
Bars: the whole attack is at least 1.5 times as fast in bf16; the accuracies differ by at most 1 point, with an interval
within ±3 points, which takes about 1,000 images. Exit code 1 if a bar is missed.

On a CPU without AMX or AVX512-BF16, bf16 may be slower.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from common.paired import difference
from common.reporting import Report, fixed, parser, percent, perform, progress, text
from torch import Tensor

from attack_parts.step_cost import Ratio
from attack_parts.subjects import Counted, Subject, answers, constrained, fashion, images_of
from attack_parts.timing import find_clock
from purebench.core import registry
from purebench.core.defense import as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel, parse_radius

PRECISIONS = ("float32", "bf16")
GAIN = 1.5
"""Least ratio of the time of an attack in float32 to that in bf16."""
POINTS, WITHIN = 1, 3
"""Largest difference in accuracy, and the bounds of its interval, in percentage points."""


@dataclass(frozen=True)
class Case:
    """A defense by name, and the default settings of its benchmark."""

    spec: str
    radius: str
    images: int
    attack: str
    eot: int


CASES = {
    "none": Case("none", "4/255", 1000, "apgd(steps=50)", 1),
    "mlvgm": Case("mlvgm-hvae(schedule=cosine, attenuation=0.7)", "12/255", 200, "apgd(steps=20)", 4),
    "nvae": Case("mlvgm-nvae(schedule=cosine, attenuation=0.7)", "12/255", 200, "apgd(steps=20)", 4),
    "diffpure": Case("diffpure", "32/255", 100, "apgd(steps=20)", 4),
}


@dataclass
class Taken:
    """Seconds of each block, gradients of all, and each image's share of right draws, in one precision."""

    seconds: list[float] = field(default_factory=list)
    gradients: int = 0
    right: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Return the numbers of the table."""
        total, images = sum(self.seconds), len(self.right)
        made = {"accuracy": sum(self.right) / images, "seconds": total, "gradients": self.gradients / images}
        return made | {"each": 1000 * total / max(self.gradients, 1)}


def attacked(
    subject: Subject, threat: ThreatModel, spec: str, eot: int, precision: str, options: argparse.Namespace, block: int
) -> tuple[Tensor, float]:
    """Return the adversarial examples of the attack on a block in this precision, and its seconds."""
    clock, _ = find_clock(options.device, options.threads)
    attack = registry.create("attacks", Spec.parse(spec))
    view = registry.create("views", Spec("exact"), defense=as_defense(subject.model, random=subject.random), eot=eot)
    view.precision = precision
    with seeded("precision", str(options.seed), str(block), device=options.device):
        began = clock()
        found = attack(view, subject.x.clone(), subject.y.clone(), threat)
        seconds = clock() - began
    return constrained(images_of(found), subject.x, threat), seconds


def compare(report: Report, options: argparse.Namespace, name: str) -> None:
    """Compare both precisions on one defense."""
    case = CASES[name]
    count, eot, spec = options.images or case.images, options.eot or case.eot, options.attack or case.attack
    radius = options.radius or case.radius
    threat = ThreatModel("linf", parse_radius(radius))
    model, random, x, y = fashion(case.spec, device=options.device)
    if options.channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    counted = Counted(model)
    with seeded("images", name, str(options.seed)):
        order = torch.randperm(len(x))[:count]
    blocks = [Subject(counted, random, x[some], y[some]) for some in order.split(options.block)]
    taken = {precision: Taken() for precision in PRECISIONS}
    with progress() as bar:
        for precision in PRECISIONS:
            short = Subject(counted, random, blocks[0].x[:4], blocks[0].y[:4])
            attacked(short, threat, spec, eot, precision, options, 0)
        for number, block in enumerate(bar.track(blocks, description=name)):
            for precision in PRECISIONS[:: -1 if number % 2 else 1]:
                counted.reset()
                found, seconds = attacked(block, threat, spec, eot, precision, options, number)
                taken[precision].seconds.append(seconds)
                taken[precision].gradients += counted.gradients
                with seeded("fresh draws", str(options.seed), str(number), device=options.device):
                    right = answers(counted, found, options.draws if random else 1) == block.y[:, None]
                taken[precision].right += right.double().mean(1).tolist()
    full, half = (taken[precision] for precision in PRECISIONS)
    lost = difference(half.right, full.right, seed=options.seed)
    gain = Ratio.of(full.seconds, half.seconds)
    rows: list[dict[str, Any]] = [{"precision": key, **each.row()} for key, each in taken.items()]
    rows[-1] |= {"difference": lost.to_dict(), "gain": asdict(gain)}
    columns = (
        ("precision", "attack in", text),
        ("accuracy", "accuracy left", percent),
        ("difference", "- float32 (points)", lambda _: str(lost)),
        ("seconds", "seconds", fixed(2)),
        ("gain", "float32 ÷ it", lambda _: str(gain)),
        ("gradients", "gradients an image", fixed(1)),
        ("each", "ms a gradient", fixed(3)),
    )
    layout = ", channels last" if options.channels_last else ""
    _, clock = find_clock(options.device, options.threads)
    title = f"{name}, linf {radius}: {spec}, EOT {eot}, {len(order)} images, {clock}, seed {options.seed}{layout}"
    report.show(title, rows, columns)
    report.told(f"{name}: whole attack, float32 ÷ bf16 = {gain}, at least {GAIN}", gain.median, met=gain.median >= GAIN)
    small = abs(lost.points) <= POINTS and lost.low >= -WITHIN and lost.high <= WITHIN
    told = f"{name}: accuracy, bf16 - float32 = {lost} points, at most {POINTS}, interval within ±{WITHIN}"
    report.told(told, lost.points, met=small)


def main(arguments: list[str] | None = None) -> int:
    """Compare on the requested defenses; the exit code says whether every bar is met."""
    made = parser(__doc__)
    made.add_argument("--defense", action="append", choices=CASES, help="may be repeated (all)")
    made.add_argument("--attack", help="the attack (none: apgd(steps=50), else apgd(steps=20))")
    made.add_argument("--images", type=int, help="images attacked (none 1000, mlvgm and nvae 200, diffpure 100)")
    made.add_argument("--block", type=int, default=100, help="images of a block, which both precisions attack (100)")
    made.add_argument("--eot", type=int, help="draws a step (none 1, else 4)")
    made.add_argument("--radius", help="linf radius (none 4/255, mlvgm and nvae 12/255, diffpure 32/255)")
    made.add_argument("--draws", type=int, default=32, help="fresh draws at each answer (32)")
    made.add_argument("--channels-last", action="store_true", help="images and weights in channels-last layout")
    options = made.parse_args(arguments)

    def work(report: Report) -> None:
        for name in options.defense or CASES:
            compare(report, options, name)

    return perform("precision", options, work)


if __name__ == "__main__":
    sys.exit(main())
