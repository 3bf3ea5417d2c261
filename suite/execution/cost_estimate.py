"""What a board will cost and tell, before it is run: a short probe on this device, and what statistics expect.

The probe runs jobs on one image, the cheapest rows first, as long as its budget lasts. An attack passes as many images
through one random row as through another, so what it was not tried on is told from the row of the same kind whose pass
takes nearest to as long. A single image fills a device less well than a block does; how much less is timed by passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from purebench.boards.board import SOURCE, AttackChoice, DefenseChoice
from purebench.boards.jobs import Job
from purebench.core.seeds import seeded
from purebench.execution.context import Context
from purebench.execution.job import Finding, Given, run_job
from purebench.execution.scheduler import single_thread
from purebench.records.record import WORST_CASE, Outcome, Record
from purebench.statistics import RUNGS, clopper_pearson, interval, interval_method

Tell = Callable[[str, int, int], None]
"""tell(what is tried, how many were, of how many)."""

LARGEST = 32
"""Images of the larger of the two passes that are timed."""
BETTING_REPEATS = 20


@dataclass(frozen=True)
class Pass:
    """One pass of a defense: seconds an image alone (with as many draws as an attack asks at once), and in a block."""

    alone: float
    filled: float


@dataclass(frozen=True)
class Price:
    """A defense under an attack, an image: seconds, and images passed. measured: whether it was tried, or is told from
    another row; skipped: whether the attack does not apply."""

    defense: str
    attack: str
    seconds: float
    forwards: float
    backwards: float
    measured: bool
    skipped: bool


def forecast(context: Context, budget: float, tell: Tell = lambda what, done, total: None) -> list[Price]:
    """The price of every row under every attack, in a block of the board; of rows that are run for their images alone,
    under those that are reused.

    budget: seconds of the probe, about.
    """
    board = context.board
    with single_thread(context.device):
        passes = {}
        for number, row in enumerate(board.defenses):
            tell(f"a pass of {row.name}", number, len(board.defenses))
            passes[row.name] = _timed_pass(context, row)
        attacks = [job for job in context.jobs() if isinstance(job, Job)]
        planned = {(job.defense.name, job.attack.name): (job.defense, job.attack) for job in attacks}
        tasks = sorted(planned.values(), key=lambda task: passes[task[0].name].alone)
        one = _one_image(context)
        tried: dict[tuple[str, str], Price] = {}
        end = time.perf_counter() + budget
        for number, (row, attack) in enumerate(tasks):
            tell(f"{row.name} · {attack.name}", number, len(tasks))
            reference = _reference(row, attack, context, tried, passes)
            if reference is None:
                _tried(row, attack, one)  # the first time an attack runs it loads and prepares what it needs
            if reference is None or time.perf_counter() + reference.seconds < end:
                tried[row.name, attack.name] = _tried(row, attack, one)
        tell("probed", len(tasks), len(tasks))
    found = []
    for row, attack in tasks:
        price = tried.get((row.name, attack.name)) or _reference(row, attack, context, tried, passes)
        assert price is not None  # the first of its kind is always tried
        scale = passes[row.name].filled / passes[row.name].alone
        found.append(replace(price, seconds=price.seconds * min(scale, 1.0)))
    return [*found, *(_worst_case(context, row, found, passes[row.name]) for row in board.shown)]


def _worst_case(context: Context, row: DefenseChoice, attacks: Sequence[Price], one: Pass) -> Price:
    """The price of picking and scoring an image's adversarial example: forwards alone, whose number is known."""
    defense = context.defenses[row.name]
    applying = sum(price.defense == row.name and not price.skipped for price in attacks)
    draws = 1
    if defense.random:
        rungs = RUNGS if applying > 1 else ()
        draws = context.board.fresh + sum(min(rung.keep, applying) * rung.draws for rung in rungs)
    return Price(row.name, WORST_CASE, draws * one.filled, defense.passes * draws, 0, True, applying == 0)


def expected_half_widths(images: int, accuracy: float, confidence: float, anytime: bool = False) -> tuple[float, float]:
    """Half the interval to expect of a deterministic row and of a random one.

    accuracy: in [0,1]. The random row's is the widest that one of this accuracy may have, where every image is always
    right or always wrong. anytime: of a run that may stop early. Simulated with the same seed every time.
    """
    right = min(images, max(0, round(accuracy * images)))
    values = np.repeat([1.0, 0.0], [right, images - right])
    rng = np.random.default_rng(0)
    method = interval_method(False, anytime)
    random = float(
        np.mean([interval(rng.permutation(values), method, confidence).half_width for _ in range(BETTING_REPEATS)])
    )
    return (random if anytime else clopper_pearson(right, images, confidence).half_width), random


def _one_image(context: Context) -> Context:
    """The same board with its first image alone."""
    alone = replace(context.board, dataset=replace(context.board.dataset, images=1, block=1))
    return replace(context, board=alone, images=context.images.take([0]), order=context.order[:1])


def _timed_pass(context: Context, row: DefenseChoice) -> Pass:
    """The quickest of a few passes, of one image and of a block, each with the draws of a look."""
    board, defense = context.board, context.defenses[row.name]
    size = context.device_batch(row.name)
    eots = sorted(attack.eot for attack in board.attacks)
    draws = eots[len(eots) // 2] if defense.random else 1
    small = min(draws, size)
    large = max(small, min(draws * min(board.dataset.block, board.dataset.images), size, LARGEST))
    image = torch.as_tensor(context.images.take([0]).floats()).to(context.device)
    seconds = {}
    for count in {small, large}:
        batch = image.expand(count, *image.shape[1:]).contiguous()
        seconds[count] = min(_seconds_of_pass(defense, batch) for _ in range(3)) / count
    return Pass(seconds[small], seconds[large])


@torch.no_grad()
def _seconds_of_pass(defense: torch.nn.Module, batch: torch.Tensor) -> float:
    with seeded("plan", "pass", device=batch.device):
        began = time.perf_counter()
        with suppress(Exception):  # a row that fails costs what it takes to fail; its records will say why
            float(defense(batch).sum())
        return max(time.perf_counter() - began, 1e-9)


def _tried(row: DefenseChoice, attack: AttackChoice, one: Context) -> Price:
    """A job on one image; what it is given are the clean images."""
    seed = f"plan {row.name} {attack.name}"
    job = Job(seed, seed, row, attack, 0)
    clean = Record("", "", "", "", 0, [], [], [Outcome.MISCLASSIFIED], ["0"], [None])
    given = Given((), Finding(clean, one.images.floats()))
    began = time.perf_counter()
    record = run_job(job, one, given).record
    skipped = record.outcomes == [Outcome.SKIPPED]
    seconds = 0.0 if skipped else sum(record.seconds.values()) or time.perf_counter() - began
    return Price(row.name, attack.name, seconds, record.forwards, record.backwards, True, skipped)


def _reference(
    row: DefenseChoice,
    attack: AttackChoice,
    context: Context,
    tried: Mapping[tuple[str, str], Price],
    passes: Mapping[str, Pass],
) -> Price | None:
    """The price as told from the row of the same kind whose pass takes nearest to as long; None without one.

    Rows to which the attack does not apply say nothing of the others, so they count where there is none else.
    """
    if attack.only == SOURCE:
        return None  # most rows skip it, which costs nothing to try
    random = context.defenses[row.name].random
    same = [
        price
        for (name, of), price in tried.items()
        if of == attack.name and name != row.name and context.defenses[name].random == random
    ]
    applying = [price for price in same if not price.skipped]
    if not applying and not (same and attack.only not in ("all", "random" if random else "deterministic")):
        return None
    here = passes[row.name].alone
    near = min(applying or same, key=lambda price: abs(np.log(passes[price.defense].alone / here)))
    there = passes[near.defense].alone
    # what the defense itself took, about: a gradient costs twice a pass, and the rest does not depend on the defense
    busy = min(near.seconds, (near.forwards + 2 * near.backwards) * there)
    seconds = near.seconds - busy + busy * here / there
    return replace(near, defense=row.name, seconds=seconds, measured=False)
