"""Compares attacks in bf16 and float32: `python benchmarks/attacks.py precision --device cuda`.

The same attack runs in float32 and in bf16 (`View.precision`), on the bundled classifier and on the bundled MLVGM
purifier; every answer is verified in float32, on the same fresh draws. The difference in robust accuracy comes with a
bootstrap interval over images and with wall-clock times, each measured after one short run to warm up.
Bar: the interval contains 0, so bf16 and float32 do not differ significantly. Exit code 1 if a bar is missed.

On a CPU without AMX or AVX512-BF16, bf16 may be slower.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common.paired import difference
from common.reporting import Report, fixed, parser, percent, perform, progress, text
from torch import Tensor

from attack_parts.subjects import Counted, Subject, answers, chosen, constrained, fashion, images_of
from attack_parts.timing import find_clock
from purebench.core import registry
from purebench.core.defense import as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel, parse_radius

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Case:
    """A defense by name, and the default settings of its benchmark."""

    spec: str
    radius: str
    images: int
    attack: str
    eot: int


CASES = {
    "none": Case("none", "4/255", 256, "apgd(steps=50)", 1),
    "mlvgm": Case("mlvgm-hvae(schedule=cosine, attenuation=0.7)", "12/255", 64, "apgd(steps=20)", 4),
    "diffpure": Case("diffpure", "32/255", 48, "apgd(steps=20)", 4),
}


def attacked(
    subject: Subject, threat: ThreatModel, spec: str, eot: int, precision: str, options: argparse.Namespace
) -> tuple[Tensor, float]:
    """Return the adversarial examples of the attack in this precision, and its wall-clock seconds."""
    clock, _ = find_clock(options.device, threads=0)
    attack = registry.create("attacks", Spec.parse(spec))
    view = registry.create("views", Spec("exact"), defense=as_defense(subject.model, random=subject.random), eot=eot)
    view.precision = precision
    with seeded("precision", str(options.seed), device=options.device):
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
        order = torch.randperm(len(x))[: 4 * count + 32]
        x, y = chosen(counted, x[order], y[order], count, draws=8 if random else 1, least=0.51)
    subject = Subject(counted, random, x, y)
    short = Subject(counted, random, x[:4], y[:4])
    rows: list[dict[str, Any]] = []
    shares: dict[str, npt.NDArray[np.float64]] = {}
    with progress() as bar:
        for precision in bar.track(PRECISIONS, description=name):
            attacked(short, threat, spec, eot, precision, options)
            counted.reset()
            found, seconds = attacked(subject, threat, spec, eot, precision, options)
            gradients = counted.gradients
            with seeded("fresh draws", str(options.seed), device=options.device):
                right = answers(counted, found, options.draws if random else 1) == y[:, None]
            shares[precision] = right.double().mean(1).cpu().numpy()
            each = 1000 * seconds / max(gradients, 1)
            rows.append({"precision": precision, "accuracy": float(shares[precision].mean()), "seconds": seconds})
            rows[-1] |= {"gradients": gradients / count, "each": each}
    found_difference = difference(shares["bf16"], shares["float32"], seed=options.seed)
    rows[-1]["difference"] = found_difference.to_dict()
    columns = (
        ("precision", "attack in", text),
        ("accuracy", "accuracy left", percent),
        ("difference", "- float32 (points)", lambda _: str(found_difference)),
        ("seconds", "seconds", fixed(2)),
        ("gradients", "gradients an image", fixed(1)),
        ("each", "ms a gradient", fixed(3)),
    )
    layout = ", channels last" if options.channels_last else ""
    report.show(f"{name}, linf {radius}: {spec}, EOT {eot}, {count} images, seed {options.seed}{layout}", rows, columns)
    holds = found_difference.low <= 0 <= found_difference.high
    report.told(f"{name}: bf16 - float32 = {found_difference} points, 0 inside", found_difference.points, met=holds)


def main(arguments: list[str] | None = None) -> int:
    """Compare on the requested defenses; the exit code says whether every interval contains 0."""
    made = parser(__doc__, threads=2)
    made.add_argument("--defense", action="append", choices=CASES, help="may be repeated (both)")
    made.add_argument("--attack", help="the attack (none: apgd(steps=50), mlvgm: apgd(steps=20))")
    made.add_argument("--images", type=int, help="images attacked (none 256, mlvgm 64)")
    made.add_argument("--eot", type=int, help="draws a step (mlvgm 4)")
    made.add_argument("--radius", help="linf radius (none 4/255, mlvgm 12/255)")
    made.add_argument("--draws", type=int, default=32, help="fresh draws at each answer (32)")
    made.add_argument("--channels-last", action="store_true", help="images and weights in channels-last layout")
    options = made.parse_args(arguments)

    def work(report: Report) -> None:
        for name in options.defense or CASES:
            compare(report, options, name)

    return perform("precision", options, work)


if __name__ == "__main__":
    sys.exit(main())
