"""Estimates the cost of a board and the width of its confidence intervals, with a short probe on this device.

The probe runs jobs on one image, the fastest rows first, until its time budget is used up. An attack passes equally
many images through all random rows, so pairs that were not tried are estimated from the row of the same kind with the
most similar time per pass. A single image uses a device less efficiently than a block does; the difference is measured
with timed passes.
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
from purebench.core.compute.devices import single_thread
from purebench.core.seeds import seeded
from purebench.execution.context import Context
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobInputs, answered_wrong
from purebench.records.outcome import BEST_KNOWN, WORST_CASE
from purebench.statistics import RUNGS, clopper_pearson, interval, interval_method

Tell = Callable[[str, int, int], None]
"""tell(the current trial, the number of finished trials, the number of all trials)."""

LARGEST = 32
"""Images of the larger of the two timed passes."""
BETTING_REPEATS = 20


@dataclass(frozen=True)
class Pass:
    """The time of one pass of a defense.

    Attributes:
        alone: seconds per image of a single image (with as many draws as an attack requests at once).
        filled: seconds per image in a block.
    """

    alone: float
    filled: float


@dataclass(frozen=True)
class Price:
    """The cost per image of a defense under an attack.

    Attributes:
        defense: the name of the row.
        attack: the name of the attack.
        seconds: seconds per image.
        forwards: images passed forward per image.
        backwards: images passed backward per image.
        measured: whether it was measured, or else estimated from another row.
        skipped: whether the attack does not apply.
    """

    defense: str
    attack: str
    seconds: float
    forwards: float
    backwards: float
    measured: bool
    skipped: bool


def forecast(context: Context, budget: float, tell: Tell = lambda what, done, total: None) -> list[Price]:
    """Estimate the cost of every row under every attack, in a block of the board.

    Rows that are run only for their adversarial images are included under the attacks that are reused.

    Args:
        context: the prepared board.
        budget: approximate seconds for the probe.
        tell: called with the progress.

    Returns:
        One price for each pair of row and attack, and one for each worst-case job of each shown row.
    """
    board = context.board
    with single_thread(context.device):
        passes = {}
        for number, row in enumerate(board.defenses):
            tell(f"a pass of {row.name}", number, len(board.defenses))
            passes[row.name] = timed_pass(context, row)
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
                _tried(row, attack, one)  # the first run of an attack includes loading and preparation
            if reference is None or time.perf_counter() + reference.seconds < end:
                tried[row.name, attack.name] = _tried(row, attack, one)
        tell("probed", len(tasks), len(tasks))
    found = []
    for row, attack in tasks:
        price = tried.get((row.name, attack.name)) or _reference(row, attack, context, tried, passes)
        assert price is not None  # the first of its kind is always tried
        scale = passes[row.name].filled / passes[row.name].alone
        found.append(replace(price, seconds=price.seconds * min(scale, 1.0)))
    bespoke = {attack.name for attack in board.attacks if attack.rows}
    common = [price for price in found if price.attack not in bespoke]
    picking = [_worst_case(context, row, common, passes[row.name], WORST_CASE) for row in board.shown]
    known = [row for row in board.shown if board.has_bespoke(row.name)]
    return [*found, *picking, *(_worst_case(context, row, found, passes[row.name], BEST_KNOWN) for row in known)]


def _worst_case(context: Context, row: DefenseChoice, attacks: Sequence[Price], one: Pass, label: str) -> Price:
    """Return the cost of picking and scoring an image's adversarial example: a known number of forward passes."""
    defense = context.defenses[row.name]
    applying = sum(price.defense == row.name and not price.skipped for price in attacks)
    draws = 1
    if defense.random:
        rungs = RUNGS if applying > 1 else ()
        draws = context.board.fresh + sum(min(rung.keep, applying) * rung.draws for rung in rungs)
    return Price(row.name, label, draws * one.filled, defense.passes * draws, 0, True, applying == 0)


def expected_half_widths(images: int, accuracy: float, confidence: float, anytime: bool = False) -> tuple[float, float]:
    """Return the expected half-widths of the confidence interval, of a deterministic row and of a random row.

    For the random row it is the widest possible interval at this accuracy, where every image is either always or never
    correct. It is simulated with a fixed seed.

    Args:
        images: the number of images.
        accuracy: the assumed accuracy, in [0,1].
        confidence: the confidence of the interval.
        anytime: whether the run may stop early.
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
    """Return the same board with only its first image."""
    alone = replace(context.board, dataset=replace(context.board.dataset, images=1, block=1))
    return replace(context, board=alone, images=context.images.take([0]), order=context.order[:1])


def timed_pass(context: Context, row: DefenseChoice) -> Pass:
    """Time the fastest of a few passes, of one image and of a block, each with the draws of one gradient query."""
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
        with suppress(Exception):  # a failing row costs the time until it fails; its records will contain the error
            float(defense(batch).sum())
        return max(time.perf_counter() - began, 1e-9)


def _tried(row: DefenseChoice, attack: AttackChoice, one: Context) -> Price:
    """Run a job on one image; the reused images are the clean ones."""
    seed = f"plan {row.name} {attack.name}"
    job = Job(seed, seed, row, attack, 0)
    given = JobInputs((), answered_wrong(one.images.floats()))
    began = time.perf_counter()
    record = run_job(job, one, given).record
    seconds = 0.0 if record.skipped else record.wall_time or time.perf_counter() - began
    return Price(row.name, attack.name, seconds, *record.passes, True, record.skipped)


def _reference(
    row: DefenseChoice,
    attack: AttackChoice,
    context: Context,
    tried: Mapping[tuple[str, str], Price],
    passes: Mapping[str, Pass],
) -> Price | None:
    """Estimate the cost from the row of the same kind with the most similar time per pass; None without such a row.

    Rows to which the attack does not apply contain no information about the others, so they are used only if there are
    no other rows.
    """
    if attack.only == SOURCE:
        return None  # most rows skip it, so trying it is cheap
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
    # approximate time of the defense itself: a gradient costs two passes, and the rest does not depend on the defense
    busy = min(near.seconds, (near.forwards + 2 * near.backwards) * there)
    seconds = near.seconds - busy + busy * here / there
    return replace(near, defense=row.name, seconds=seconds, measured=False)
