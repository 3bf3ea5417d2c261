"""Measures the time and memory of a purification: `python benchmarks/purification.py`.

    python benchmarks/purification.py --threads 1 --json purification.json      all, on a CPU
    python benchmarks/purification.py --case e4e --images 8 --device cuda       a batch of faces on a GPU
    python benchmarks/purification.py --declared --images 16 --costs defenses/costs.json

The last command measures one draw of every bundled defense instead, classifier included, and writes the times that
`purebench list defenses` shows, for all defenses of the catalogue without a time of their own.

The bundled purifiers on images of 1×32×32, and the paper's two StyleGAN2 autoencoders at full size with random weights
(the cost does not depend on the weights): e4e reads 3×256×256 and generates 1024×1024 pixels, Style-Transformer
reads 3×128×128 and generates 512×512. Each is measured in a separate process, after one pass to warm up: seconds per
image of a purification, without and with its gradient to the image; memory beyond that of the interpreter before the
model was built, weights included, at the peak of the forward passes and then with gradients. On a GPU it is the memory
that torch allocated. There are no bars: the exit code is 0 unless something could not be measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shlex
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from attack_parts.contestants import told
from attack_parts.timing import find_clock
from common.reporting import Report, fixed, parser, perform, progress, text
from torch import Tensor, nn

from purebench.cli.declaration import VARIES, own
from purebench.core import registry
from purebench.core.compute.memory import keep_freed_memory
from purebench.core.defense import as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.stylegan.e4e import E4E
from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer
from purebench.records.provenance import commit, versions

GIB = 2**30
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Case:
    """A purifier, the function that creates it, and the shape [C,H,W] of its images."""

    name: str
    build: Callable[[], nn.Module]
    image: tuple[int, int, int]


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement, as plain values for another process."""

    images: int
    repeats: int
    device: str
    threads: int
    seed: int
    kept: bool
    whole: bool


def bundled(spec: str) -> Case:
    """Return a purifier with the weights of the package."""
    return Case(spec, lambda: registry.create("defenses", Spec.parse(spec)), (1, 32, 32))


CASES = {
    "hvae": bundled("mlvgm-hvae"),
    "nvae": bundled("mlvgm-nvae"),
    "stylegan": bundled("mlvgm-stylegan"),
    "vae": bundled("vae"),
    "puvae": bundled("puvae"),
    "defense-gan": bundled("defense-gan"),
    "ebm-langevin": bundled("ebm-langevin"),
    "diffpure": bundled("diffpure"),
    "gradual-noise": bundled("gradual-noise"),
    "gdmp": bundled("gdmp"),
    "likelihood-maximisation": bundled("likelihood-maximisation"),
    "diffpure-sde": bundled("diffpure-sde"),
    "style-transformer": Case("Style-Transformer, 512", lambda: MLVGMPurifier(StyleTransformer()), (3, 128, 128)),
    "e4e": Case("e4e, 1024", lambda: MLVGMPurifier(E4E()), (3, 256, 256)),
}


def whole(name: str) -> Case:
    """Return a registered defense at its default settings with the bundled classifier."""

    def build() -> nn.Module:
        classifier = registry.create("classifiers", Spec("fashion-resnet"))
        made = registry.create("defenses", Spec(name), classifier=classifier)
        return as_defense(made, classifier)

    return Case(name, build, (1, 32, 32))


def bundled_defenses() -> dict[str, Case]:
    """Return the declared defenses of this package that need neither files nor another defense."""
    return {name: whole(name) for name, one in own().items() if one.ms != VARIES}


def peak(device: torch.device) -> int:
    """Return the peak memory in bytes so far: of this process, or of torch on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():  # the ru_maxrss of a child starts at that of its parent
        (line,) = (line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(key: str, settings: Settings) -> dict[str, Any]:
    """Return the row of one case; must run in a new process."""
    device, case = torch.device(settings.device), (bundled_defenses() if settings.whole else CASES)[key]
    torch.set_num_threads(settings.threads)
    if settings.kept:
        keep_freed_memory()
    clock, _ = find_clock(device, settings.threads)
    before = peak(device)
    with seeded("purification", key, str(settings.seed), device=device):
        purifier = case.build().to(device).eval().requires_grad_(False)
        x = torch.rand(settings.images, *case.image).to(device)

        def forward() -> None:
            with torch.no_grad():
                purifier(x)

        def backward() -> None:
            asked = x.clone().requires_grad_()
            answer: Tensor = purifier(asked)
            if answer.requires_grad:  # otherwise the result passes through a file
                torch.autograd.grad(answer.sum(), asked)

        row: dict[str, Any] = {"name": case.name, "image": "×".join(str(size) for size in case.image)}
        row["parameters"] = sum(parameter.numel() for parameter in purifier.parameters()) / 1e6
        for name, run in (("forward", forward), ("backward", backward)):
            run()
            taken = []
            for _ in range(settings.repeats):
                gc.collect()
                began = clock()
                run()
                taken.append(clock() - began)
            row[name] = statistics.median(taken) / settings.images
            row[f"{name}_memory"] = (peak(device) - before) / GIB
    return row


def every(report: Report, options: argparse.Namespace) -> None:
    """Measure the requested cases, else all, each in a separate process."""
    cases = bundled_defenses() if options.declared else CASES
    chosen = options.case or list(cases)
    settings = Settings(
        options.images,
        options.repeats,
        str(options.device),
        options.threads,
        options.seed,
        bool(report.settings["freed memory kept"]),
        options.declared,
    )
    rows = []
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    with progress() as bar:
        work = bar.add_task("purification", total=len(chosen))
        for key in chosen:
            bar.update(work, description=cases[key].name)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                try:
                    rows.append(pool.submit(measure, key, settings).result())
                except Exception as error:  # a case that fails (weights, memory) must not end the run; it is reported
                    report.missing[cases[key].name] = told(error)
                    report.told(f"{cases[key].name} was measured", 0.0, met=False)
            bar.advance(work)
    _, clock = find_clock(options.device, options.threads)
    where = f"{options.threads} thread(s)" if options.device.type == "cpu" else str(options.device)
    columns = (
        ("name", "", text),
        ("image", "image", text),
        ("parameters", "parameters, M", fixed(1)),
        ("forward", "s an image", fixed(4)),
        ("backward", "s with gradient", fixed(4)),
        ("forward_memory", "peak GiB", fixed(2)),
        ("backward_memory", "GiB with gradient", fixed(2)),
    )
    what = "a draw" if options.declared else "purification"
    title = f"{what}: {options.images} image(s) at once, {where}, {clock}, median of {options.repeats}"
    report.show(title, rows, columns)
    if options.costs is not None and not report.missing:
        write_costs(options.costs, {row["name"]: 1000 * row["forward"] for row in rows}, report, clock)


def write_costs(path: Path, ms: dict[str, float], report: Report, clock: str) -> None:
    """Write the costs of a catalogue: milliseconds per image of each defense, and how they were measured."""
    found = {
        "command": shlex.join(["python", "benchmarks/purification.py", *sys.argv[1:]]),
        "clock": clock,
        "device": report.settings["device"],
        "versions": versions(),
        "commit": commit(),
        "ms": {name: float(f"{value:.3g}") for name, value in sorted(ms.items())},
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Measure the requested cases; the exit code says whether all could be measured."""
    made = parser(__doc__)
    made.add_argument("--case", action="append", choices=tuple(CASES), help="the purifier, may be repeated (all)")
    made.add_argument("--images", type=int, default=1, help="images purified at once (1)")
    made.add_argument("--repeats", type=int, default=3, help="passes of each kind (3)")
    made.add_argument("--declared", action="store_true", help="measure draws of all bundled defenses instead")
    made.add_argument("--costs", type=Path, metavar="FILE", help="with --declared, write their times to FILE")
    options = made.parse_args(arguments)
    if options.case and options.declared:
        made.error("--declared measures all defenses: leave --case out")
    if options.costs and not options.declared:
        made.error("--costs is for the times of --declared: add that")
    return perform("purification", options, lambda report: every(report, options))


if __name__ == "__main__":
    sys.exit(main())
