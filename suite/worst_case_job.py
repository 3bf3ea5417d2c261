"""A worst-case job: picks one adversarial example for each image of a block, and scores it on fresh draws.

The attack jobs' own verification draws are the first rung of a successive halving; the attacks that stay in contention
are asked again, and the pick alone is scored, on draws that nothing else saw (see `statistics.halving`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from purebench.answers import ANSWERED
from purebench.batching import DeviceBatch
from purebench.context import Context
from purebench.defense import Defense
from purebench.eager import eagerly
from purebench.faults import explain
from purebench.plan import WorstCaseJob
from purebench.protocols import DefenseFault
from purebench.records import Outcome, Record
from purebench.runner import Finding, blank_record
from purebench.seeds import seeded
from purebench.statistics import RUNGS, contenders, picked
from purebench.verify import verify

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

NOTHING_APPLIES = "no attack of the board applies"
NOTHING_ANSWERED = "every attack that applies ERRORED"


def run_worst_case(job: WorstCaseJob, context: Context, found: Sequence[Finding]) -> Finding:
    """Runs one worst-case job. Its adversarial images are the picked ones, the clean image where nothing was picked.

    found: what the attack jobs of the defense and block found, in the board's order.
    """
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank = blank_record(job, context, len(part))
    try:
        with eagerly():
            return _picked_and_scored(job, context, found, x, y, blank)
    except (Exception, SystemExit) as error:  # whatever a defense raises is this record's reason
        count = len(part)
        return Finding(
            replace(
                blank,
                outcomes=[Outcome.ERRORED] * count,
                draws=[""] * count,
                distances=[None] * count,
                picked=[None] * count,
                reasons=[explain(error)] * count,
            )
        )


def _picked_and_scored(
    job: WorstCaseJob, context: Context, found: Sequence[Finding], x: Tensor, y: Tensor, blank: Record
) -> Finding:
    board, defense = context.board, context.pristine(job.defense.name)
    records = [finding.record for finding in found]
    counts = np.array([[outcome in ANSWERED for outcome in record.outcomes] for record in records])
    right = np.array([[draws.count("1") for draws in record.draws] for record in records], dtype=np.int64)
    asked = np.array([[len(draws) for draws in record.draws] for record in records], dtype=np.int64)
    votes = _Votes(defense, found, x, y, DeviceBatch(context.device_batch(job.defense.name)))
    began = time.perf_counter()
    if defense.random:
        for number, rung in enumerate(RUNGS):
            again = contenders(right, asked, counts, rung.keep) & (counts.sum(axis=0) > 1)
            with seeded(job.stream, "pick", str(number), device=context.device):
                attacks, asking = np.nonzero(again)
                new = votes.ask(attacks, asking, rung.draws)
            right[again] += new.sum(axis=1)
            asked[again] += rung.draws
    pick = picked(right, asked, counts)
    scored = time.perf_counter()
    (images,) = np.nonzero(pick >= 0)
    with seeded(job.stream, "fresh", device=context.device):
        fresh = votes.ask(pick[images], images, board.fresh if defense.random else 1)
    if not defense.random and (fresh[:, 0] != (right[pick[images], images] > 0)).any():
        raise DefenseFault("expected the same answer again of a defense with random=False; declare it random=True")
    adversarial = votes.images(pick[images], images)
    moved = x.clone()
    moved[torch.as_tensor(images, device=x.device)] = adversarial
    answers = dict(zip(images.tolist(), fresh, strict=True))
    everyone = range(len(x))
    others = {i: [record.outcomes[i] for record in records] for i in everyone if i not in answers}
    sizes = board.threat.size(moved - x).tolist()
    record = replace(
        blank,
        outcomes=[_no_pick(others[i]) if i in others else _outcome(answers[i]) for i in everyone],
        draws=["" if i in others else "".join("01"[int(one)] for one in answers[i]) for i in everyone],
        distances=[None if i in others else round(sizes[i], 7) for i in everyone],
        picked=[records[int(a)].attack if a >= 0 else None for a in pick],
        reasons=[_reason(others[i]) if i in others else "" for i in everyone],
        notes=votes.batch.notes,
        forwards=defense.passes * votes.passes,
        seconds={"pick": scored - began, "verify": time.perf_counter() - scored},
    )
    return Finding(record, moved.cpu().numpy())


def _outcome(fresh: Bools) -> Outcome:
    return Outcome.HELD if fresh.mean() > 0.5 else Outcome.BROKEN


def _no_pick(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome.ERRORED if Outcome.ERRORED in outcomes else Outcome.SKIPPED


def _reason(outcomes: Sequence[Outcome]) -> str:
    return NOTHING_ANSWERED if Outcome.ERRORED in outcomes else NOTHING_APPLIES


@dataclass
class _Votes:
    """Asks a defense about adversarial examples by attack and image; `passes` counts images passed."""

    defense: Defense
    found: Sequence[Finding]
    x: Tensor
    y: Tensor
    batch: DeviceBatch
    passes: int = field(default=0)

    def images(self, attacks: Counts, images: Counts) -> Tensor:
        """The adversarial examples of these attacks for these images, [pairs,C,H,W]."""
        some = []
        for attack, image in zip(attacks, images, strict=True):
            adversarial = self.found[attack].adversarial
            assert adversarial is not None
            some.append(torch.as_tensor(adversarial[image]))
        return torch.stack(some).to(self.x) if some else self.x[:0]

    def ask(self, attacks: Counts, images: Counts, draws: int) -> Bools:
        """Whether each draw is right, bool [pairs, draws]."""
        if not len(images):
            return np.zeros((0, draws), dtype=np.bool_)
        self.passes += len(images) * draws
        labels = self.y[torch.as_tensor(images, device=self.y.device)]
        answers: Bools = verify(self.defense, self.images(attacks, images), labels, draws, self.batch).numpy()
        return answers
