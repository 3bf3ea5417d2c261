"""Compares the exact gradient of DiffPure with torch.utils.checkpoint on every step of the same chain.

The file is also run as a program, in a new process for each measurement of memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from purebench.core import registry
from purebench.core.compute.memory import keep_freed_memory
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.diffusion.diffpure import DiffPure

TIME_BAR, MEMORY_BAR, SAME = 1.03, 1.1, 1e-4
FEW, MANY = 10, 100
"""Reverse steps whose peak memory is compared."""
TIMED = 20
"""Reverse steps of the gradients that are timed."""
IMAGES, REPEATS = 16, 9
BUNDLED, WIDE = "bundled, 1×32×32", "128 channels, 3×32×32"
"""Networks whose peak memory is measured: the bundled one, whose features take only 350 times the memory of its image,
so that a hundred kept images show, and one of the width of published networks, to which the bar applies."""
WIDE_IMAGES = 1
STATUS = Path("/proc/self/status")

Purify = Callable[[DiffPure, Tensor], Tensor]


def ours(purifier: DiffPure, x: Tensor) -> Tensor:
    """Purify as purebench does."""
    purified: Tensor = purifier(x)
    return purified


def plainly(purifier: DiffPure, x: Tensor) -> Tensor:
    """Run the same steps with the same noise, each in torch's own checkpoint."""
    plan = purifier.plan(x)
    state = plan.start
    for step in plan.steps:
        state = torch_checkpoint(step, state, use_reentrant=False, preserve_rng_state=False)
    return plan.to_image(state)


WAYS: dict[str, Purify] = {"purebench": ours, "torch.utils.checkpoint": plainly}


def built(steps: int, images: int, device: torch.device, network: str = BUNDLED) -> tuple[DiffPure, Tensor]:
    """Return DiffPure with `steps` reverse steps and one of the networks, and random images."""
    with seeded("checkpoint"):
        if network == BUNDLED:
            made: DiffPure = registry.create("defenses", Spec("diffpure", {"steps": steps}))
        else:  # the first two levels of the network of Ho et al. 2020 for CIFAR-10, with random weights
            made = DiffPure(FoldedUNet(channels=3, fold=1, widths=(128, 256), layers=2, groups=32), steps=steps)
        x = torch.rand(images, 1 if network == BUNDLED else 3, 32, 32)
    return made.to(device).eval().requires_grad_(False), x.to(device)


def gradient(purify: Purify, purifier: DiffPure, x: Tensor, seed: str) -> Tensor:
    """Return the gradient of the squared purified images under a seed."""
    with seeded("checkpoint", seed, device=x.device):
        leaf = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(purify(purifier, leaf).square().sum(), leaf)
    return found


def seconds(options: argparse.Namespace, clock: Callable[[], float]) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of every round by way, and the largest difference of the gradients over their largest value.

    Both ways take part in each round, and the first one alternates.
    """
    purifier, x = built(options.steps or TIMED, options.images or IMAGES, options.device)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    found: dict[str, Tensor] = {}
    for number in range(-1, options.repeats or REPEATS):  # round -1 warms up
        for name in sorted(WAYS, reverse=number % 2 == 1):
            began = clock()
            found[name] = gradient(WAYS[name], purifier, x, str(number))
            if number >= 0:
                taken[name].append(clock() - began)
    one, other = found.values()
    return taken, float((one - other).abs().max() / other.abs().max())


def peak_megabytes(way: str, network: str, steps: int, images: int, device: str, kept: bool) -> float:
    """Return by how much a gradient raises the peak memory of a new process, in megabytes."""
    words = [way, network, str(steps), str(images), device, str(int(kept))]
    told = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(told.stdout)


def measure_peak(way: str, network: str, steps: int, images: int, device: str, kept: bool) -> float:
    """Return what `peak_megabytes` does, in this process; a small gradient comes first, for what is allocated once."""
    torch.set_num_threads(1)
    if kept:
        keep_freed_memory()
    where = torch.device(device)
    purifier, x = built(steps, images, where, network)
    gradient(WAYS[way], purifier.shortened(1), x[:1, :, :16, :16], "warm up")
    if where.type == "cuda":
        before = torch.cuda.memory_allocated(where)
        torch.cuda.reset_peak_memory_stats(where)
    else:
        before = resident("VmRSS")
    gradient(WAYS[way], purifier, x, "peak")
    after = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else resident("VmHWM")
    return (after - before) / 1e6


def resident(entry: str) -> int:
    """Return an entry of the process's status in bytes: VmRSS now, VmHWM at most."""
    (line,) = (line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(entry))
    return 1024 * int(line.split()[1])


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each way and network with the peak memory of few and of many steps."""
    sizes, kept = {BUNDLED: options.images or IMAGES, WIDE: WIDE_IMAGES}, not options.default_malloc
    rows: list[dict[str, Any]] = []
    for way, network in (("purebench", BUNDLED), ("torch.utils.checkpoint", BUNDLED), ("purebench", WIDE)):
        few, many = (
            peak_megabytes(way, network, steps, sizes[network], str(options.device), kept) for steps in (FEW, MANY)
        )
        row = {"name": way, "network": network, "images": sizes[network], "few": few, "many": many}
        rows.append(row | {"growth": many / few})
    return rows


if __name__ == "__main__":
    chosen, model, count, number, place, keep = sys.argv[1:]
    print(measure_peak(chosen, model, int(count), int(number), place, bool(int(keep))))
