"""Times contestants in rounds in which each runs once; the order rotates by one in each round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from common.reporting import progress
from torch import Tensor
from torch.nn import functional

from attack_parts.contestants import Contestant, Task, told
from attack_parts.subjects import Subject
from purebench.core.seeds import seeded

UNIT = "forward + backward"
UNIT_PASSES = 20
WARM_UP_STEPS = 3

Clock = Callable[[], float]


@dataclass
class Timed:
    """The seconds of one contestant in each round, its numbers of gradients and forwards, and its last result."""

    seconds: list[float]
    gradients: int = 0
    forwards: int = 0
    answer: Tensor | None = None

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)


def find_clock(device: torch.device, threads: int) -> tuple[Clock, str]:
    """Return a clock and its name: CPU time on one thread, which other processes do not affect, else wall-clock time.

    On a GPU the clock waits for all queued kernels.
    """
    if device.type == "cuda":

        def synchronised() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return synchronised, "wall time"
    return (time.process_time, "CPU time") if threads == 1 else (time.perf_counter, "wall time")


def unit(subject: Subject, passes: int) -> Callable[[], Tensor]:
    """Return the unit: `passes` forward and backward passes to the input, over all images at once."""

    def run() -> Tensor:
        for _ in range(passes):
            leaf = subject.x.clone().requires_grad_()
            torch.autograd.grad(functional.cross_entropy(subject.model(leaf), subject.y, reduction="sum"), leaf)
        return subject.x

    return run


def measure(
    tasks: dict[str, tuple[Contestant, Task]],
    subject: Subject,
    repeats: int,
    clock: Clock,
    missing: dict[str, str],
    label: str,
) -> dict[str, Timed]:
    """Time every contestant and the unit (UNIT_PASSES passes), `repeats` times each; failing peers go into `missing`.

    Preparation (building the library's objects) is not timed. Every contestant first runs a few steps to warm up.
    Errors of purebench's own attacks are raised.
    """
    runs: dict[str, Callable[[], Tensor]] = {UNIT: unit(subject, UNIT_PASSES)}
    with progress() as bar:
        work = bar.add_task(label, total=len(tasks) + repeats * (len(tasks) + 1))
        for name, (contestant, task) in tasks.items():
            try:
                short = Task(task.subject, task.threat, min(task.steps, WARM_UP_STEPS), task.eot)
                with seeded("warm-up", name):
                    contestant.prepare(short)()
                runs[name] = contestant.prepare(task)
            except Exception as error:  # an error of a library must not end the run; it is reported
                if contestant.ours:
                    raise
                missing[name] = told(error)
                bar.update(work, total=(bar.tasks[0].total or 0) - repeats)
            bar.advance(work)
        unit(subject, 2)()
        found = {name: Timed([]) for name in runs}
        names = list(runs)
        for number in range(repeats):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                subject.model.reset()
                with seeded("benchmark", str(number), device=subject.x.device):
                    began = clock()
                    answer = runs[name]()
                    found[name].seconds.append(clock() - began)
                found[name].answer = answer
                found[name].gradients, found[name].forwards = subject.model.gradients, subject.model.forwards
                bar.advance(work)
    return found
