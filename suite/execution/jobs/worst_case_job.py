"""Runs a worst-case job: picks one adversarial example for each image of a block, and scores it on fresh draws.

The attack jobs' verification draws are the first rung of a successive halving. The attacks that remain get more draws,
and only the pick is scored, on draws that were not used before (see `statistics.worst_case.halving`). The mean of these
scores is the robust accuracy (`DefenseResult.robust`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from purebench.boards.jobs import WorstCaseJob
from purebench.core.answers import DefenseFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.seeds import Purpose, seeded
from purebench.execution.context import Context
from purebench.execution.contract.eager import eagerly
from purebench.execution.jobs.blame import isolate
from purebench.execution.jobs.faults import explain
from purebench.execution.jobs.job_record import (
    JobResult,
    PickedScore,
    blank_record,
    counted_draws,
    outcomes_of,
    worst_case_record,
)
from purebench.execution.jobs.verification import verify
from purebench.records.answers import ANSWERED
from purebench.records.outcome import Outcome
from purebench.statistics import RUNGS, contenders, picked

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

NOTHING_APPLIES = "no attack of the board applies"
NOTHING_ANSWERED = "every attack that applies errored"


def run_worst_case(job: WorstCaseJob, context: Context, found: Sequence[JobResult]) -> JobResult:
    """Run one worst-case job.

    An image on which the defense fails is ERRORED with the reason; the others keep their results.

    Args:
        job: the job.
        context: the prepared board.
        found: the results of the attack jobs of this defense and block, in the board's order.

    Returns:
        The record, and the picked adversarial images; the clean image where nothing was picked.
    """
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank, count = blank_record(job, context, len(part)), len(part)
    with eagerly():
        tried = isolate(lambda rows: _picked_and_scored(job, context, found, x, y, rows), range(count))
    scores = [
        PickedScore(Outcome.ERRORED, reason=explain(tried.faults[row]) if row in tried.faults else "")
        for row in range(count)
    ]
    if tried.found is None:
        return JobResult(worst_case_record(blank, scores))
    for score, row in zip(tried.found.scores, tried.rows, strict=True):
        scores[row] = score
    x[tried.rows] = tried.found.images
    some = tried.found
    record = worst_case_record(blank, scores, notes=some.notes, passes=some.passes, phases=some.seconds)
    return JobResult(record, x.cpu().numpy())


@dataclass(frozen=True)
class _Scored:
    """The result for some images.

    Attributes:
        scores: the score of each image.
        images: the picked images [N,C,H,W].
        notes: the notes of the record.
        passes: images passed.
        seconds: wall time by phase.
    """

    scores: list[PickedScore]
    images: Tensor
    notes: list[str]
    passes: int
    seconds: dict[str, float]


def _picked_and_scored(
    job: WorstCaseJob, context: Context, found: Sequence[JobResult], x: Tensor, y: Tensor, rows: list[int]
) -> _Scored:
    """Pick and score the adversarial examples of the images of these rows."""
    board, defense = context.board, context.pristine(job.defense.name)
    outcomes = [outcomes_of(found, row) for row in rows]
    counts = np.array([[outcome in ANSWERED for outcome in of_image] for of_image in outcomes]).T
    right, asked = counted_draws(found, rows)
    votes = _Votes(defense, found, rows, x[rows], y[rows], DeviceBatch(context.device_batch(job.defense.name)))
    began = time.perf_counter()
    if defense.random:
        for number, rung in enumerate(RUNGS):
            again = contenders(right, asked, counts, rung.keep) & (counts.sum(axis=0) > 1)
            attacks, asking = np.nonzero(again)
            with seeded(job.stream, Purpose.PICK, str(number), device=context.device):
                new = votes.ask(attacks, asking, rung.draws)
            right[again] += new.sum(axis=1)
            asked[again] += rung.draws
    pick = picked(right, asked, counts)
    scored = time.perf_counter()
    (images,) = np.nonzero(pick >= 0)
    with seeded(job.stream, Purpose.FRESH, device=context.device):
        fresh = votes.ask(pick[images], images, board.fresh if defense.random else 1)
    if not defense.random and (fresh[:, 0] != (right[pick[images], images] > 0)).any():
        raise DefenseFault(
            "expected equal answers from a defense with random=False, but they differ; declare random=True"
        )
    moved = x[rows].clone()
    moved[torch.as_tensor(images, device=x.device)] = votes.images(pick[images], images)
    answers = dict(zip(images.tolist(), fresh, strict=True))
    sizes = board.threat.size(moved - x[rows]).tolist()
    scores = [
        PickedScore(
            _outcome(answers[i]),
            "".join("01"[int(one)] for one in answers[i]),
            round(sizes[i], 7),
            found[int(pick[i])].record.attack,
        )
        if i in answers
        else PickedScore(_no_pick(outcomes[i]), reason=_reason(outcomes[i]))
        for i in range(len(rows))
    ]
    seconds = {"pick": scored - began, "verify": time.perf_counter() - scored}
    return _Scored(scores, moved, votes.batch.notes, defense.passes * votes.passes, seconds)


def _outcome(fresh: Bools) -> Outcome:
    return Outcome.ROBUST if fresh.mean() > 0.5 else Outcome.MISCLASSIFIED


def _no_pick(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome.ERRORED if Outcome.ERRORED in outcomes else Outcome.SKIPPED


def _reason(outcomes: Sequence[Outcome]) -> str:
    return NOTHING_ANSWERED if Outcome.ERRORED in outcomes else NOTHING_APPLIES


@dataclass
class _Votes:
    """Calls a defense on adversarial examples by attack and image.

    Attributes:
        defense: the defense.
        found: the results of the attacks.
        rows: the positions in the block of the images x.
        x: images [N,C,H,W].
        y: their labels [N].
        batch: the device batch.
        passes: images passed.
    """

    defense: Defense
    found: Sequence[JobResult]
    rows: Sequence[int]
    x: Tensor
    y: Tensor
    batch: DeviceBatch
    passes: int = field(default=0)

    def images(self, attacks: Counts, images: Counts) -> Tensor:
        """Return the adversarial examples of these attacks for these images, [pairs,C,H,W]."""
        some = []
        for attack, image in zip(attacks, images, strict=True):
            adversarial = self.found[attack].adversarial
            assert adversarial is not None
            some.append(torch.as_tensor(adversarial[self.rows[image]]))
        return torch.stack(some).to(self.x) if some else self.x[:0]

    def ask(self, attacks: Counts, images: Counts, draws: int) -> Bools:
        """Return whether each draw is correct, bool [pairs, draws]."""
        if not len(images):
            return np.zeros((0, draws), dtype=np.bool_)
        self.passes += len(images) * draws
        labels = self.y[torch.as_tensor(images, device=self.y.device)]
        answers: Bools = verify(self.defense, self.images(attacks, images), labels, draws, self.batch).numpy()
        return answers
