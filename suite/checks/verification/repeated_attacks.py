"""Repeats the attacks of a board on random images that a bundle calls robust."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from purebench.checks.verification.queries import Tell
from purebench.checks.verification.rebuild import Rebuilt
from purebench.core.seeds import seed_of
from purebench.execution.backends.serial import Serial
from purebench.execution.context import Context
from purebench.execution.jobs.job_inputs import inputs_of
from purebench.execution.jobs.job_record import JobResult
from purebench.execution.scheduler import execute
from purebench.records.outcome import ANSWERED, WORST_CASE, Outcome
from purebench.statistics.reproduction import (
    BREAKS_ALLOWED,
    BROKEN_MARGIN,
    ClaimTest,
    breaks_bound,
    breaks_p_value,
    contradicts,
)

BROKEN = "images broken by repeated attacks"


@dataclass(frozen=True)
class Repetition:
    """The result of repeated attacks.

    Attributes:
        test: the test of the claim that these images are robust.
        broken: positions in the data set of the images that were broken.
        attacked: the number of images with an answer.
        errored: the number of images on which an attack failed, which decide nothing.
        passes: images passed forward and backward.
    """

    test: ClaimTest
    broken: tuple[int, ...]
    attacked: int
    errored: int
    passes: tuple[int, int]


def repeat_attacks(rebuilt: Rebuilt, images: int, seed: int, tell: Tell) -> Repetition | None:
    """Run the attacks of the board with the verifier's seed on random images that the bundle calls robust.

    The attacks that are bespoke to the row are left out: the robust accuracy is that under the common suite.

    Args:
        rebuilt: the rebuilt defense.
        images: the number of images, or all images that are called robust if they are fewer.
        seed: the verifier's seed, which chooses the images and seeds the attacks.
        tell: called with the progress.

    Returns:
        The result; None if the bundle calls no image robust.

    Raises:
        PurebenchError: no job can be run.
    """
    result = rebuilt.bundle.result
    robust = [row for row, outcome in enumerate(result.worst_case.outcomes) if outcome is Outcome.ROBUST]
    if not robust:
        return None
    rng = np.random.default_rng(seed_of("verification", str(seed), "images"))
    rows = sorted(rng.choice(robust, size=min(images, len(robust)), replace=False).tolist())
    context = _part(rebuilt.context, rows, seed)
    found: dict[str, JobResult] = {}
    jobs = context.jobs()
    for done in execute(jobs, context, Serial(context), (), lambda job: inputs_of(job, lambda key: found[key])):
        found[done.record.key] = done
        tell("repeated attacks", len(found), len(jobs))
    records = [one.record for one in found.values() if one.record.defense == result.name]
    answers = {
        image: (outcome, draws)
        for record in records
        if record.attack == WORST_CASE
        for image, outcome, draws in zip(record.images, record.outcomes, record.draws, strict=True)
    }
    failed = {
        image
        for record in records
        for image, outcome in zip(record.images, record.outcomes, strict=True)
        if outcome is Outcome.ERRORED
    }
    broken, held = [], 0
    for row in rows:
        image = result.images[row]
        outcome, draws = answers[image]
        claimed = result.worst_case.draws[row]
        if outcome in ANSWERED and contradicts(claimed.count("1"), len(claimed), draws.count("1"), len(draws)):
            broken.append(image)
        elif outcome in ANSWERED and image not in failed:
            held += 1
    attacked = len(broken) + held
    share = len(broken) / attacked if attacked else 0.0
    allowed = BREAKS_ALLOWED["random" if result.random else "deterministic"]
    test = ClaimTest(
        BROKEN,
        0.0,
        share,
        breaks_p_value(len(broken), attacked, allowed),
        breaks_bound(len(broken), attacked, len(robust)) if attacked else 1.0,
        BROKEN_MARGIN,
        attacked,
    )
    passes = sum(one.record.forwards for one in found.values()), sum(one.record.backwards for one in found.values())
    return Repetition(test, tuple(broken), attacked, len(rows) - attacked, passes)


def _part(context: Context, rows: list[int], seed: int) -> Context:
    """Return the context of the same board on these images alone, under another seed."""
    board = context.board
    attacks = tuple(attack for attack in board.attacks if not attack.rows)
    block = min(board.dataset.block, len(rows))
    smaller = replace(
        board,
        dataset=replace(board.dataset, images=len(rows), block=block),
        attacks=attacks,
        seed=seed,
        stop=None,
    )
    return replace(context, board=smaller, images=context.images.take(rows), order=context.order[rows])
