"""Runs a board: plans its jobs, skips those in the store, runs the rest, and saves each job when it ends."""

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
"""progress(finished jobs, all jobs, the record just saved or None at the start)."""


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
    """Run the missing jobs of a board, and save their records in the store at `path`.

    If the board has a stopping rule, the records are those of the blocks that count (see `stopping`).

    Args:
        board: the board.
        path: the store.
        device: `cpu`, `cuda` or `cuda:0`.
        workers: the number of processes; None for as many as are useful on the device.
        wait: seconds to wait for another process that writes to the store.
        retry_errors: whether to run ERRORED jobs again.
        progress: called at the start and after each job.
        tell: called with one line for each warning, and for each row that is left out because its files are not on this
            machine. Another run with these files continues from here.
        order: the order of execution, which does not affect results.

    Returns:
        The context, and all records in plan order.

    Raises:
        PurebenchError: invalid input, before anything is written.
    """
    context = prepare(board, device)
    for name, error in context.left_out.items():
        tell(f"{name} is not run: {error}")
    for warning in context.warnings:
        tell(warning)
    jobs = context.jobs()
    if not path.is_file() or len(_found(path, jobs, retry_errors)) < len(jobs):
        check_attacks(board)
        for warning in check_defenses(context):
            tell(warning)
    end: Ending | None = None
    with store.writing(path, wait) as saved:
        found = _kept(saved, jobs, retry_errors)
        if retry_errors:  # removed first, so that a killed run leaves no record that depends on a removed one
            saved.remove(job.key for job in jobs if job.key not in found)
        saved.set_plan(board.name, board.to_dict(), [job.key for job in jobs], board.origin)
        progress(len(found), len(jobs), None)
        end = ending(context.board, found.values())
        todo = [] if end else list(order([job for job in jobs if job.key not in found]))
        left = Counter(job.block for job in todo)
        looked = _whole_blocks(left, board)
        done = {key: Finding(record) for key, record in found.items()}

        def given(job: AnyJob) -> Given:
            """Return the results of the jobs that a job needs; their images are read from the store."""
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
    """Return the number of first blocks without a remaining job."""
    return next((block for block in range(board.most_blocks) if left[block]), board.most_blocks)


def _told(board: Board, end: Ending) -> str:
    spared = board.blocks - end.blocks
    counted = f"stopped after {end.blocks} of {board.blocks} blocks ({end.images} of {board.dataset.images} images)"
    return f"{counted}, {spared} saved: {end.why}"


def _found(path: Path, jobs: Sequence[AnyJob], retry_errors: bool) -> dict[str, Record]:
    try:
        with store.reading(path) as saved:
            return _kept(saved, jobs, retry_errors)
    except PurebenchError:  # an interrupted or invalid store: opening it for writing reports it
        return {}


def _kept(saved: store.Store, jobs: Sequence[AnyJob], retry_errors: bool) -> dict[str, Record]:
    """Return the records that need not be computed again, by key.

    With `retry_errors`, records that ERRORED are left out, and so are those of jobs that used the result of an ERRORED
    job.
    """
    found = {job.key: record for job in jobs if (record := saved.get(job.key)) is not None}
    if retry_errors:
        found = {key: record for key, record in found.items() if Outcome.ERRORED not in record.outcomes}
        while rests := [job.key for job in jobs if job.key in found and any(key not in found for key in job.needs)]:
            found = {key: record for key, record in found.items() if key not in rests}
    return found
