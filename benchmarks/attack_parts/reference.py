"""AutoAttack's own package, our adapter to it, and the native attacks, on one deterministic classifier.

    python benchmarks/attacks.py reference --json reference.json

The package is run as its authors run it, on the bundled ResNet, then through `autoattack:standard`, on the same images
with the same seed and batch size. Bar: both break exactly the same images. Then native APGD-CE, APGD-T and Square run
one after the other, each on the images that are still robust. Bar: they leave at most 0.5 points more than the package.
The radius should leave 20 to 60 %. Every adversarial example is checked, projected if rounding exceeds the radius, and
classified again. Exit code 1 if a bar is missed. Only packages that purebench itself needs take part.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from common.reporting import Report, fixed, parser, percent, perform, progress, text
from torch import Tensor

from attack_parts.subjects import Counted, Subject, answers, constrained, fashion, images_of
from purebench.core import registry
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.third_party import autoattack
from purebench.core.threat import ThreatModel, parse_radius

NATIVE = ("apgd(steps=100)", "apgd-t(steps=100)", "square(queries=5000)")
BAR = 0.5
"""Percentage points that the native attacks may leave beyond the package."""


@contextmanager
def overheard() -> Iterator[dict[str, Any]]:
    """Record the seed and the batch size of every run of the package within the context."""
    package: Any = autoattack()
    heard: dict[str, Any] = {}
    original = package.AutoAttack

    class Overheard(original):  # type: ignore[misc, valid-type]
        """The package's class, which records how it is run."""

        def __init__(self, *values: Any, **options: Any):
            super().__init__(*values, **options)
            heard["seed"] = self.seed

        def run_standard_evaluation(self, *values: Any, **options: Any) -> Any:
            """Run the evaluation of the package."""
            heard["batch_size"] = options.get("batch_size", 250)
            return super().run_standard_evaluation(*values, **options)

    package.AutoAttack = Overheard
    try:
        yield heard
    finally:
        package.AutoAttack = original


def by_name(spec: str, subject: Subject, threat: ThreatModel, index: Tensor) -> Tensor:
    """Run a registered attack on the images at `index` and return its adversarial examples."""
    attack = registry.create("attacks", Spec.parse(spec))
    view = registry.create("views", Spec("exact"), defense=as_defense(subject.model), eot=1)
    found = attack(view, subject.x[index].clone(), subject.y[index].clone(), threat)
    return images_of(found)


class Race:
    """Runs attacks one after the other on one subject and keeps one row for each."""

    def __init__(self, subject: Subject, threat: ThreatModel, seed: int):
        self.subject, self.threat, self.seed = subject, threat, seed
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, attack: Callable[[Tensor], Tensor], before: Tensor) -> Tensor:
        """Attack the images that are robust so far (`before`, bool [N]); return which images still are, bool [N]."""
        index, after = before.nonzero().squeeze(1), before.clone()
        self.subject.model.reset()
        began = time.perf_counter()
        if len(index):
            with seeded("reference", str(self.seed), device=self.subject.x.device):
                found = attack(index)
            gradients = self.subject.model.gradients
            found = constrained(found, self.subject.x[index], self.threat)
            after[index] = answers(self.subject.model, found, 1)[:, 0] == self.subject.y[index]
        else:
            gradients = 0
        self.rows.append(
            {
                "name": name,
                "attacked": len(index),
                "accuracy": float(after.float().mean()),
                "broken": (~after).nonzero().squeeze(1).tolist(),
                "gradients": gradients / len(before),
                "seconds": time.perf_counter() - began,
            }
        )
        return after


def compare(report: Report, options: argparse.Namespace) -> None:
    """Compare the package, our adapter to it and the native attacks, and add the bars."""
    radius, seed, version = options.radius, options.seed, options.version
    native = options.native or list(NATIVE)
    model, _, x, y = fashion(device=options.device)
    subject = Subject(Counted(model), False, x[: options.images], y[: options.images])
    threat = ThreatModel("linf", parse_radius(radius))
    race, everything = Race(subject, threat, seed), torch.ones(len(subject.x), dtype=torch.bool, device=x.device)

    def plainly(index: Tensor) -> Tensor:
        attack = autoattack().AutoAttack(
            subject.model, norm="Linf", eps=threat.radius, version=version, device=x.device, seed=heard["seed"]
        )
        attack.verbose = False
        found, _ = attack.run_standard_evaluation(subject.x[index], subject.y[index], batch_size=heard["batch_size"])
        images: Tensor = found
        return images

    def by_our_adapter(index: Tensor) -> Tensor:
        return by_name(f"autoattack:{version}", subject, threat, index)

    with progress() as bar:
        work = bar.add_task("our adapter", total=2 + len(native))
        with overheard() as heard:
            adapted = race.run("through our adapter", by_our_adapter, everything)
        if set(heard) != {"seed", "batch_size"}:
            raise PurebenchError(
                "expected our adapter to call AutoAttack(…).run_standard_evaluation of the package, but it did not: "
                "the seed that the package is to be run with is not known."
            )
        bar.update(work, advance=1, description="AutoAttack's package")
        package = race.run("AutoAttack's package", plainly, everything)
        bar.advance(work)
        left = everything
        for spec in native:
            bar.update(work, description=spec)
            attack = partial(by_name, spec, subject, threat)
            left = race.run(f"native, so far: {spec}", attack, left)
            bar.advance(work)
    columns = (
        ("name", "", text),
        ("attacked", "attacked", text),
        ("accuracy", "accuracy left", percent),
        ("gradients", "gradients an image", fixed(0)),
        ("seconds", "seconds", fixed(1)),
    )
    title = f"{version}, linf {radius}: {len(subject.x)} images, seed {heard['seed']}, batch {heard['batch_size']}"
    report.show(title, race.rows, columns)
    report.at_most("images that only one of adapter and package breaks", float((adapted != package).sum()), 0.0)
    more = 100 * float(left.float().mean() - package.float().mean())
    report.at_most("points that the native attacks leave more than the package", more, BAR)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; the exit code says whether both bars were met."""
    made = parser(__doc__, threads=2)
    made.add_argument("--images", type=int, default=256, help="images attacked, the first of the shipped ones (256)")
    made.add_argument("--radius", default="4/255", help="linf radius (4/255)")
    made.add_argument("--version", default="standard", choices=("standard", "plus"), help="of AutoAttack (standard)")
    made.add_argument(
        "--native", action="append", metavar="ATTACK", help=f"a native attack, may be repeated ({', '.join(NATIVE)})"
    )
    options = made.parse_args(arguments)
    return perform("reference", options, lambda report: compare(report, options))


if __name__ == "__main__":
    sys.exit(main())
