"""Repeats the attacks of a board on a random sample of the images of a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from purebench.checks.verification.queries import Tell
from purebench.checks.verification.rebuild import Rebuilt
from purebench.checks.verification.stated_provenance import repetition_remarks
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seed_of
from purebench.execution.backends.serial import Serial
from purebench.execution.context import Context
from purebench.execution.jobs.job_inputs import inputs_of
from purebench.execution.jobs.job_record import JobResult
from purebench.execution.scheduler import execute
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.records.record import Record
from purebench.results.files.verdict import BROKEN
from purebench.results.results import DefenseResult
from purebench.statistics.intervals.gaffke import one_sided_bound
from purebench.statistics.reproduction import (
    BROKEN_MARGIN,
    CONFIDENCE,
    ClaimTest,
    breaks_bound,
    contradicts,
    images_to_attack,
    repetition_p_value,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Repetition:
    """The result of repeated attacks.

    Attributes:
        test: the test of the claimed accuracy on these images.
        broken: positions in the data set of the images that the bundle calls robust and that were broken.
        robust: the number of images that the bundle calls robust, of those with an answer.
        asked: the requested number of images that the bundle calls robust.
        errored: the number of images on which an attack failed, which decide nothing.
        remarks: differences of costs and warnings from those that the result states.
    """

    test: ClaimTest
    broken: tuple[int, ...]
    robust: int
    asked: int
    errored: int
    remarks: tuple[str, ...]


def repeat_attacks(rebuilt: Rebuilt, images: int, seed: int, tell: Tell) -> Repetition | None:
    """Run the attacks of the board with the verifier's seed on a random sample of the images.

    The attacks that are bespoke to the row are left out: the robust accuracy is that under the common suite.

    Args:
        rebuilt: the rebuilt defense.
        images: about how many images of the sample the bundle calls robust; if it calls none robust, five times as many
            images are attacked.
        seed: the verifier's seed, which chooses the images and seeds the attacks.
        tell: called with the progress.

    Returns:
        The result; None if no image of the bundle has a score.

    Raises:
        PurebenchError: no job can be run.
    """
    result = rebuilt.bundle.result
    scored = np.flatnonzero(result.scored)
    robust = sum(outcome is Outcome.ROBUST for outcome in result.worst_case.outcomes)
    if not (count := images_to_attack(images, robust, len(scored))):
        return None
    rng = np.random.default_rng(seed_of("verification", str(seed), "images"))
    rows = sorted(rng.choice(scored, size=count, replace=False).tolist())
    shared = result.random and rebuilt.context.facts(result.name).shares_draws
    records = _attacked(_part(rebuilt.context, rows, seed, alone=shared), tell)
    own = [record for record in records if record.defense == result.name]
    answers = {image: found for record in own if record.attack == WORST_CASE for image, found in _answers(record)}
    failed = {image for record in own for image, (outcome, _) in _answers(record) if outcome is Outcome.ERRORED}
    known = [row for row in rows if result.images[row] not in failed and answers[result.images[row]][1]]
    if not known:
        raise PurebenchError(
            f"{result.name}: expected answers to the repeated attacks, but all images errored or were skipped; use the "
            "code and the versions that the bundle was made with, or --no-attacks."
        )
    claimed = [result.worst_case.draws[row] for row in known]
    repeated = [answers[result.images[row]][1] for row in known]
    held = [one for one, row in enumerate(known) if result.worst_case.outcomes[row] is Outcome.ROBUST]
    broken = [result.images[known[one]] for one in held if _broken(claimed[one], repeated[one])]
    before, after = (np.array([_share(one) for one in draws]) for draws in (claimed, repeated))
    block = rebuilt.context.board.dataset.block
    groups = np.array(known) // block if shared else np.arange(len(known))
    test = ClaimTest(
        BROKEN,
        float(before.mean()),
        float(after.mean()),
        repetition_p_value(before, after, groups, seed),
        _bound(before, after, result, broken=len(broken), held=len(held), robust=robust),
        BROKEN_MARGIN,
        len(known),
    )
    remarks = repetition_remarks(result, own)
    return Repetition(test, tuple(broken), len(held), images, len(rows) - len(known), tuple(remarks))


def _attacked(context: Context, tell: Tell) -> list[Record]:
    """Run all jobs of a board, and return their records."""
    found: dict[str, JobResult] = {}
    jobs = context.jobs()
    tell("repeated attacks", 0, len(jobs))
    for done in execute(jobs, context, Serial(context), (), lambda job: inputs_of(job, lambda key: found[key])):
        found[done.record.key] = done
        tell("repeated attacks", len(found), len(jobs))
    return [one.record for one in found.values()]


def _answers(record: Record) -> list[tuple[int, tuple[Outcome, str]]]:
    """Return the outcome and the draws of each image of a record."""
    return list(zip(record.images, zip(record.outcomes, record.draws, strict=True), strict=True))


def _bound(before: Floats, after: Floats, result: DefenseResult, *, broken: int, held: int, robust: int) -> float:
    """Return an upper confidence bound of the excess of the claim.

    It is that of the share of images claimed robust that are broken. If no image is claimed robust, it is that of the
    difference of the scores, and at most the claimed accuracy.
    """
    if robust:
        return breaks_bound(broken, held, robust) if held else 1.0
    claim = float(result.fresh[result.scored].mean())
    return min(claim, 2 * one_sided_bound((before - after + 1) / 2, CONFIDENCE, "high") - 1)


def _broken(claimed: str, repeated: str) -> bool:
    return contradicts(claimed.count("1"), len(claimed), repeated.count("1"), len(repeated))


def _share(draws: str) -> float:
    return draws.count("1") / len(draws)


def _part(context: Context, rows: list[int], seed: int, *, alone: bool) -> Context:
    """Return the context of the same board on these images alone, under another seed.

    A defense that makes one random choice for all images of a call gets each image alone, so that its draws are
    independent.
    """
    board = context.board
    block = 1 if alone else min(board.dataset.block, len(rows))
    smaller = replace(
        board,
        dataset=replace(board.dataset, images=len(rows), block=block),
        attacks=tuple(attack for attack in board.attacks if not attack.rows),
        seed=seed,
        stop=None,
    )
    return replace(context, board=smaller, images=context.images.take(rows), order=context.order[rows])
