"""Runs a board: plan, skip what the store has, run the rest, save each job as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob, WorstCaseJob
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, check_attacks, check_defenses, prepare
from purebench.execution.job import Finding, Given
from purebench.execution.scheduler import default_workers, execute
from purebench.records import store
from purebench.records.record import Outcome, Record
from purebench.results.stopping import Ending, ending

Progress = Callable[[int, int, Record | None], None]
"""progress(jobs done, jobs in all, the record just saved or None at the start)."""


def run_board(
    board: Board,
    path: Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    wait: float = 0.0,
    retry_errors: bool = False,
    progress: Progress = lambda done, total, record: None,
    tell: Callable[[str], None] = lambda line: None,
    order: Callable[[Sequence[AnyJob]], Sequence[AnyJob]] = list,
) -> tuple[Context, list[Record]]:
    """Runs what is missing of a board into the store at `path`; the context and all records in plan order.

    Where the board has a rule of stopping the records are those of the blocks that count (see `stopping`).

    workers: processes, None for as many as the device has use for. wait: seconds to wait for another writer.
    retry_errors: run ERRORED jobs again. tell: is told, a line each, of rows that are left out because their files are
    not on this machine; another run with them goes on from here. order: the order of running, which changes no result.
    Raises PurebenchError for bad input, before anything is written.
    """
    context = prepare(board, device)
    for name, error in context.left_out.items():
        tell(f"{name} is not run: {error}")
    for warning in context.warnings:
        tell(warning)
    jobs = context.jobs()
    if not path.is_file() or len(_found(path, jobs, retry_errors)) < len(jobs):
        check_attacks(board)
        check_defenses(context)
    end: Ending | None = None
    with store.writing(path, wait) as saved:
        found = _kept(saved, jobs, retry_errors)
        if retry_errors:  # now, so that a run which is killed leaves no record that rests on a removed one
            saved.remove(job.key for job in jobs if job.key not in found)
        saved.set_plan(board.name, board.to_dict(), [job.key for job in jobs], board.origin)
        progress(len(found), len(jobs), None)
        end = ending(context.board, found.values())
        todo = [] if end else list(order([job for job in jobs if job.key not in found]))
        left = Counter(job.block for job in todo)
        looked = _whole_blocks(left, board)
        done = {key: Finding(record) for key, record in found.items()}

        def given(job: AnyJob) -> Given:
            """What the jobs that a job needs have found; their images come from the store."""
            needed = {key: replace(done[key], adversarial=saved.adversarial(key)) for key in job.needs}
            if isinstance(job, WorstCaseJob):
                return Given([needed[key] for key in job.needs])
            return Given([needed[key] for key in job.after], needed[job.source] if job.source else None)

        many = default_workers(device) if workers is None else workers
        with closing(execute(todo, context, many, done, given)) as findings:
            for finding in findings:
                done[finding.record.key] = Finding(finding.record)
                saved.add(finding.record, finding.adversarial)
                found[finding.record.key] = finding.record
                progress(len(found), len(jobs), finding.record)
                left[finding.record.block] -= 1
                if (whole := _whole_blocks(left, board)) > looked:
                    end, looked = ending(context.board, found.values(), looked + 1), whole
                    if end is not None:
                        break
        if end is not None:
            jobs = [job for job in jobs if job.block < end.blocks]
            saved.set_plan(board.name, board.to_dict(), [job.key for job in jobs], board.origin)
            tell(_told(board, end))
    return context, [found[job.key] for job in jobs]


def _whole_blocks(left: Counter[int], board: Board) -> int:
    """How many of the first blocks have no job left."""
    return next((block for block in range(board.most_blocks) if left[block]), board.most_blocks)


def _told(board: Board, end: Ending) -> str:
    spared = board.blocks - end.blocks
    counted = f"stopped after {end.blocks} of {board.blocks} blocks ({end.images} of {board.dataset.images} images)"
    return f"{counted}, {spared} saved: {end.why}"


def _found(path: Path, jobs: Sequence[AnyJob], retry_errors: bool) -> dict[str, Record]:
    try:
        with store.reading(path) as saved:
            return _kept(saved, jobs, retry_errors)
    except PurebenchError:  # begun and cut off, or no store at all: opening it for writing tells
        return {}


def _kept(saved: store.Store, jobs: Sequence[AnyJob], retry_errors: bool) -> dict[str, Record]:
    """The records that need not be found again, by key.

    retry_errors: without those that ERRORED, and those of jobs that were given what an ERRORED job had found.
    """
    found = {job.key: record for job in jobs if (record := saved.get(job.key)) is not None}
    if retry_errors:
        found = {key: record for key, record in found.items() if Outcome.ERRORED not in record.outcomes}
        while rests := [job.key for job in jobs if job.key in found and any(key not in found for key in job.needs)]:
            found = {key: record for key, record in found.items() if key not in rests}
    return found
