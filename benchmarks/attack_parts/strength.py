"""Measures the strength of the attacks on random defenses, beside their peers at equal gradient cost.

    tools/peers.sh /tmp/peers                            an environment with all peers, once
    peers/bin/python benchmarks/attacks.py strength --defense noise --json noise.json
    peers/bin/python benchmarks/attacks.py strength --defense mlvgm --defense diffpure
    peers/bin/python benchmarks/attacks.py strength --defense cifar --data test.npz --weights model_test.pt

noise      the bundled ResNet behind Gaussian input noise (sigma 0.1)
mlvgm      behind the bundled hierarchical VAE's purification (cosine × 0.7)
diffpure   behind the bundled DDPM's purification (t* 150, 4 steps)
cifar      a ResNet-18 of a file (AutoAttack's package brings examples/model_test.pt) behind noise of sigma 0.02, on
           CIFAR-10 from an npz of JPEG files

All attack the same images (those the defense mostly classifies correctly) with the same numbers of steps and of
draws; the gradients actually computed are shown, and purebench may compute fewer. The accuracy is the share of
right answers over fresh draws, the same noise for all. The lowest peer and the lower of ours are chosen on one half of
the draws and compared on the other; the interval is a bootstrap over images. The bar is missed if ours leaves more
than the lowest peer by more than the interval allows. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common.paired import difference
from common.reporting import Report, fixed, parser, percent, perform, progress, text

from attack_parts.contestants import Contestant, Task, taking_part, told
from attack_parts.subjects import Counted, NoisyInput, Subject, answers, chosen, constrained, fashion, images, resnet18
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel, parse_radius

NAMES = (
    "purebench APGD",
    "purebench PGD",
    "Foolbox PGD",
    "ART PGD",
    "AutoAttack APGD",
    "torchattacks PGD",
)
NOISE = 0.02


@dataclass(frozen=True)
class Case:
    """A defense by name, and the default settings of its benchmark."""

    spec: str
    radius: str
    images: int
    steps: int
    eot: int


CASES = {
    "noise": Case("gaussian-noise(sigma=0.1)", "8/255", 128, 40, 8),
    "mlvgm": Case("mlvgm-hvae(schedule=cosine, attenuation=0.7)", "12/255", 64, 20, 8),
    "diffpure": Case("diffpure(t=150, steps=4, sampler=ddpm)", "32/255", 48, 20, 4),
    "cifar": Case("", "1/255", 32, 20, 4),
}


def subject(name: str, count: int, options: argparse.Namespace) -> Subject:
    """Return the defense and the first images of a seeded order on which most of its draws are right."""
    if name == "cifar":
        if options.data is None or options.weights is None:
            raise PurebenchError("--defense cifar: expected --data NPZ and --weights FILE, but one of them is missing.")
        model: torch.nn.Module = NoisyInput(resnet18(options.weights), NOISE).to(options.device)
        random, (x, y) = True, images(f"cifar10(npz={str(options.data)!r})", options.device)
    else:
        model, random, x, y = fashion(CASES[name].spec, device=options.device)
    counted = Counted(model)
    with seeded("images", name, str(options.seed)):
        order = torch.randperm(len(x))[: 4 * count + 32]
        return Subject(counted, random, *chosen(counted, x[order], y[order], count, draws=8, least=0.51))


@dataclass
class Left:
    """The outcome of an attack: right answers [N,draws] as 0 and 1, cost in images × steps × EOT, seconds."""

    right: npt.NDArray[np.float64]
    gradients: float
    forwards: float
    seconds: float

    @property
    def choosing(self) -> npt.NDArray[np.float64]:
        """Each image's share of right answers on the half of the draws that chooses, [N]."""
        return np.asarray(self.right[:, ::2].mean(1))

    @property
    def scoring(self) -> npt.NDArray[np.float64]:
        """Each image's share of right answers on the other half, [N]."""
        return np.asarray(self.right[:, 1::2].mean(1))


def attacked(one: Contestant, task: Task, run: int, draws: int) -> Left:
    """Run one attack and `draws` fresh draws at its result. Raises PurebenchError if it left the threat model."""
    subject, threat = task.subject, task.threat
    attack = one.prepare(task)
    subject.model.reset()
    began = time.perf_counter()
    with seeded("attack", str(run), device=subject.x.device):
        found = attack().detach()
    seconds = time.perf_counter() - began
    cost = subject.model.gradients / task.nominal, subject.model.forwards / task.nominal
    found = constrained(found, subject.x, threat)
    with seeded("fresh draws", str(run), device=subject.x.device):
        right = answers(subject.model, found, draws) == subject.y[:, None]
    return Left(right.cpu().numpy().astype(np.float64), *cost, seconds)


def together(several: list[Left]) -> Left:
    """Combine runs of one attack: all their draws, and the means of their costs."""
    return Left(
        np.concatenate([each.right for each in several], axis=1),
        *(float(np.mean([vars(each)[key] for each in several])) for key in ("gradients", "forwards", "seconds")),
    )


def compare(report: Report, options: argparse.Namespace, name: str) -> None:
    """Run all contestants on one defense and add the bar."""
    case = CASES[name]
    count, steps, eot = options.images or case.images, options.steps or case.steps, options.eot or case.eot
    radius = options.radius or case.radius
    target = subject(name, count, options)
    task = Task(target, ThreatModel("linf", parse_radius(radius)), steps, eot)
    taking = taking_part(report.missing, NAMES)
    left: dict[str, Left] = {}
    with progress() as bar:
        work = bar.add_task(name, total=len(taking) * options.runs)
        for one in taking:
            try:
                runs = []
                for run in range(options.runs):
                    bar.update(work, description=f"{name}: {one.name}")
                    runs.append(attacked(one, task, run + options.seed, options.draws))
                    bar.advance(work)
                left[one.name] = together(runs)
            except Exception as error:  # an error of a library must not end the run; it is reported
                if one.ours:
                    raise
                report.missing[f"{name}: {one.name}"] = told(error)
    names = {ours: [one.name for one in taking if one.ours == ours and one.name in left] for ours in (True, False)}
    mine, best = (min(those, key=lambda who: left[who].choosing.mean(), default=None) for those in names.values())
    eots = {one.name: one.eot for one in taking}
    rows: list[dict[str, Any]] = []
    for who, found in left.items():
        row = {"name": who, "accuracy": float(found.right.mean()), "gradients": found.gradients}
        row |= {"forwards": found.forwards, "seconds": found.seconds, "eot": eots[who]}
        if best and who in names[True]:
            row["difference"] = difference(found.scoring, left[best].scoring, seed=options.seed).to_dict()
        rows.append(row)
    columns = (
        ("name", "", text),
        ("accuracy", "accuracy left", percent),
        ("difference", f"- {best} (points)", points),
        ("gradients", "gradients", fixed(2)),
        ("forwards", "forwards", fixed(2)),
        ("seconds", "seconds", fixed(1)),
        ("eot", "EOT by", text),
    )
    title = f"{name}, linf {radius}: {count} images, {steps} steps × {eot} draws, "
    report.show(title + f"{options.runs} run(s), {options.draws} fresh draws, seed {options.seed}", rows, columns)
    if not (mine and best):
        report.told(f"{name}: nobody to compare", 0.0, met=False)
    else:
        paired = difference(left[mine].scoring, left[best].scoring, seed=options.seed)
        report.told(f"{name}: {mine} - {best} = {paired} points, low end ≤ 0", paired.points, met=paired.low <= 0)


def points(value: dict[str, Any]) -> str:
    """Return a difference as text."""
    return f"{value['points']:+.1f} [{value['low']:+.1f}, {value['high']:+.1f}]"


def main(arguments: list[str] | None = None) -> int:
    """Compare on the requested defenses; the exit code says whether every bar was met."""
    made = parser(__doc__, threads=2)
    made.add_argument("--defense", action="append", choices=CASES, help="may be repeated (noise, mlvgm, diffpure)")
    made.add_argument("--images", type=int, help="images attacked (noise 128, mlvgm 64, diffpure 48, cifar 32)")
    made.add_argument("--steps", type=int, help="steps (noise 40, others 20)")
    made.add_argument("--eot", type=int, help="draws a step (noise and mlvgm 8, others 4)")
    made.add_argument("--radius", help="linf radius (noise 8/255, mlvgm 12/255, diffpure 32/255, cifar 1/255)")
    made.add_argument("--runs", type=int, default=1, help="attacks of each, with seeds of their own (1)")
    made.add_argument("--draws", type=int, default=32, help="fresh draws at each answer, at least 2 (32)")
    made.add_argument("--data", type=Path, metavar="NPZ", help="cifar: an npz of JPEG files")
    made.add_argument("--weights", type=Path, metavar="FILE", help="cifar: a ResNet-18's state dict")
    options = made.parse_args(arguments)

    def work(report: Report) -> None:
        for name in options.defense or ("noise", "mlvgm", "diffpure"):
            compare(report, options, name)

    return perform("strength", options, work)


if __name__ == "__main__":
    sys.exit(main())
