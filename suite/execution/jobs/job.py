"""Runs one attack job: attack, check of the threat model, verification with fresh randomness, record.

The job's key alone determines the result. `attack_and_verify` computes it, and `job_record` writes it down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from purebench.boards.board import SOURCE, Board
from purebench.boards.jobs import Job
from purebench.core.answers import Inapplicable
from purebench.execution.context import Context
from purebench.execution.contract.eager import eagerly
from purebench.execution.jobs.attack_and_verify import Attacked, attack_and_verify
from purebench.execution.jobs.faults import explain
from purebench.execution.jobs.job_pictures import pictures_of
from purebench.execution.jobs.job_record import (
    JobInputs,
    JobResult,
    attack_record,
    blank_record,
    broken_before,
    errored_record,
    skipped_record,
)


def run_job(job: Job, context: Context, given: JobInputs | None = None) -> JobResult:
    """Run one job; if the attack or the defense fails, the record is ERRORED with the reason.

    Args:
        job: the job.
        context: the prepared board.
        given: the results of the jobs that it needs.

    Returns:
        The record and the adversarial images.
    """
    board, defense = context.board, context.defenses[job.defense.name]
    given = given or JobInputs()
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank = blank_record(job, context, len(part))
    if (inapplicable := _not_for(job, board, defense.random)) is not None:
        return JobResult(skipped_record(blank, inapplicable))
    spared = {} if job.attack.only == SOURCE else broken_before(given.before)  # other rows reuse all of its images
    rest = [row for row in range(len(part)) if row not in spared]
    everything = x.cpu().numpy().copy()  # without the copy, it would share the memory of x on the CPU
    for row, image in spared.items():
        everything[row] = image
    lost = _lost(job, given.source, rest)
    rest = [row for row in rest if row not in lost]
    if not rest and not lost:
        return JobResult(
            skipped_record(blank, "every image of the block was broken by an earlier attack", spared=True), everything
        )
    try:
        with eagerly():
            found = attack_and_verify(job, context, given.source, x, y, rest) if rest else Attacked([], None, {}, {})
    except Inapplicable as why:
        return JobResult(skipped_record(blank, str(why)))
    failed = lost | {row: explain(fault) for row, fault in found.faults.items()}
    if found.images is None:
        return JobResult(errored_record(blank, failed, spared))
    everything[found.rows] = found.images.cpu().numpy()
    pictures = pictures_of(job, context, torch.as_tensor(everything), found.rows) if job.block == 0 else []
    return JobResult(attack_record(blank, found.fields, found.rows, failed, spared, pictures), everything)


def _not_for(job: Job, board: Board, random: bool) -> str | None:
    """Return why the board does not run this attack on this defense; None if it does."""
    if not job.attack.for_row(job.defense.name):
        return f"bespoke to {', '.join(job.attack.rows)}"
    only = job.attack.only
    if only == SOURCE:
        wanted = board.reuses(job.defense.name, job.attack.name)
        return None if wanted else "only on rows whose adversarial images another attack reuses"
    wanted = only == "all" or random == (only == "random")
    return None if wanted else f"for {only} defenses only"


def _lost(job: Job, source: JobResult | None, rows: Sequence[int]) -> dict[int, str]:
    """Return the images on which the source ERRORED: row → reason. There is no adversarial example to reuse."""
    used = job.attack.source
    if used is None or source is None or used.defense == job.defense.name:
        return {}
    why = f"no adversarial images to reuse: {used.attack} on {used.defense} is errored"
    return dict.fromkeys(source.record.errored_rows.intersection(rows), why)
