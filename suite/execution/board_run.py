"""Runs a board: plans its jobs, skips those in the store, runs the rest, and saves each job when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob, picking_keys
from purebench.core.errors import PurebenchError
from purebench.core.files.text import counted, duration
from purebench.data.splits import refuse_dev
from purebench.execution.backends.compute import Compute
from purebench.execution.context import Context, prepare
from purebench.execution.contract.compilation import uncompiled
from purebench.execution.earlier_rows import Listing, with_earlier_rows
from purebench.execution.early_checks import check_attacks, check_defenses
from purebench.execution.jobs.job_inputs import inputs_of
from purebench.execution.jobs.job_record import JobInputs, JobResult
from purebench.execution.planning.budget import Budget
from purebench.execution.planning.remaining import RemainingTime, clean_first
from purebench.execution.scheduler import Asking, execute
from purebench.records import store
from purebench.records.record import Record
from purebench.results.stopping import Ending, ending

JobProgress = Callable[[int, int, Record | None], None]
"""progress(finished jobs, all jobs, the record just saved or None at the start)."""


@runtime_checkable
class Forecasting(Protocol):
    """A progress that also shows the remaining time."""

    def expect(self, remaining: RemainingTime) -> None:
        """Take the remaining time of a run, before its first job; the progress adds the records to it."""


def run_board(
    board: Board,
    path: Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    compute: Compute | None = None,
    budget: float | None = None,
    wait: float = 0.0,
    retry_errors: bool = False,
    keep_rows: bool = False,
    progress: JobProgress = lambda done, total, record: None,
    tell: Callable[[str], None] = lambda line: None,
    order: Callable[[Sequence[AnyJob]], Sequence[AnyJob]] = clean_first,
) -> tuple[Context, list[Record]]:
    """Run the missing jobs of a board, and save their records in the store at `path`.

    If the board has a stopping rule, the records are those of the blocks that count (see `stopping`).

    Args:
        board: the board.
        path: the store.
        device: the device, or several (see `Compute`).
        workers: the number of processes; None for as many as are useful on the device.
        compute: where the jobs run, in place of `device` and `workers`; None for `Compute(device, workers)`.
        budget: seconds after which no further block is started (see `budget`); None for no limit.
        wait: seconds to wait for another process that writes to the store.
        retry_errors: whether to run ERRORED jobs again.
        keep_rows: whether `show` and `export` go on to list the complete rows of the board's last run (see
            `earlier_rows`).
        progress: called at the start and after each job.
        tell: called with one line for each warning, and for each row that is left out because its files are not on this
            machine. Another run with these files continues from here.
        order: the order of execution, which does not affect results.

    Returns:
        The context, and all records in plan order.

    Raises:
        PurebenchError: invalid input, before anything is written.
    """
    compute = Compute(device, workers) if compute is None else compute
    compute.check()
    context = prepare(board, compute.main_device())
    tell_preparation(context, tell)
    return context, run_prepared(
        board,
        context,
        path,
        compute=compute,
        budget=budget,
        wait=wait,
        retry_errors=retry_errors,
        keep_rows=keep_rows,
        progress=progress,
        tell=tell,
        order=order,
    )


def tell_preparation(context: Context, tell: Callable[[str], None]) -> None:
    """Call `tell` with one line for each row that is left out, and for each warning about the images."""
    for name, error in context.left_out.items():
        tell(f"{name} is not run: {error}")
    for warning in context.warnings:
        tell(warning)


def run_prepared(
    board: Board,
    context: Context,
    path: Path,
    *,
    workers: int = 1,
    compute: Compute | None = None,
    budget: float | None = None,
    only: Collection[str] | None = None,
    dev: bool = False,
    wait: float = 0.0,
    retry_errors: bool = False,
    keep_rows: bool = False,
    progress: JobProgress = lambda done, total, record: None,
    tell: Callable[[str], None] = lambda line: None,
    order: Callable[[Sequence[AnyJob]], Sequence[AnyJob]] = clean_first,
) -> list[Record]:
    """Run the missing jobs of a board whose images and models are loaded; the arguments are those of `run_board`.

    Args:
        board: the board as it was requested, which the store keeps; rows of it may be left out of the context.
        context: the prepared board.
        path: the store.
        workers: the number of processes.
        compute: where the jobs run, in place of `workers`; None for that many processes on the context's device.
        budget: seconds after which no further block is started; None for no limit.
        only: keys of the jobs that are run and returned, with those that they need; None for all.
        dev: whether the images are the dev images of a sweep; the store then keeps the records only, so that `show` and
            `export` do not list them as a board.
        wait: seconds to wait for another process that writes to the store.
        retry_errors: whether to run ERRORED jobs again.
        keep_rows: whether `show` and `export` go on to list the complete rows of the board's last run.
        progress: called at the start and after each job.
        tell: called with one line for each warning, if the stopping rule or the budget ends the run, and if a worker is
            replaced.
        order: the order of execution.

    Returns:
        All records in plan order, or those of the blocks that count.

    Raises:
        PurebenchError: invalid input, before anything is written.
    """
    if not dev:
        refuse_dev(context.images)
    compute = Compute(str(context.device), workers) if compute is None else compute
    if board.compile:
        tell(f"compile: compiling the networks of {counted(len(context.defenses), 'defense')} takes minutes")
    planned = context.jobs()
    jobs = [job for job in planned if only is None or job.key in only]
    if not path.is_file() or len(_found(path, jobs, retry_errors)) < len(jobs):
        _check(board, context, tell)
    with store.writing(path, wait) as saved:
        found = _kept(saved, jobs, retry_errors)
        if retry_errors:  # removed first, so that a killed run leaves no record that depends on a removed one
            saved.remove(job.key for job in jobs if job.key not in found)
        listing = with_earlier_rows(board, context, saved) if keep_rows else Listing(board)
        unlisted = listing.plain_unlisted
        if not dev:
            _set_plan(saved, listing.board, [*planned, *listing.jobs], unlisted)
        progress(len(found), len(jobs), None)
        rule = _StoppingRule(context.board, jobs, found)
        todo = [] if rule.end else list(order([job for job in jobs if job.key not in found]))
        spent = None if budget is None else Budget(budget, todo, found)
        backend = compute.backend_of(context, len(todo), tell)
        if isinstance(progress, Forecasting):
            progress.expect(RemainingTime(todo, found.values(), backend.workers))
        admits = _always if spent is None else lambda job: spent.admits(job, backend.workers)
        with closing(execute(todo, context, backend, found, _inputs(saved, found), admits)) as results:
            for result in results:
                saved.add(result.record, result.adversarial)
                found[result.record.key] = result.record
                progress(len(found), len(jobs), result.record)
                if spent is not None:
                    spent.finished(result.record)
                if rule.after(result.record):
                    break
        if rule.end is not None:
            jobs = [job for job in jobs if job.block < rule.end.blocks]
            _set_plan(saved, board, jobs, unlisted)
            tell(_told(board, rule.end))
        elif spent is not None and spent.over:
            blocks = rule.whole_blocks()
            jobs = [job for job in jobs if job.block < blocks]
            tell(_over_budget(board, blocks, budget or 0.0))
    return [found[job.key] for job in jobs]


def _check(board: Board, context: Context, tell: Callable[[str], None]) -> None:
    """Check attacks and defenses before the first job, and call `tell` with each warning."""
    check_attacks(board)
    for warning in [*check_defenses(context), uncompiled(context)]:
        if warning:
            tell(warning)


def _set_plan(
    saved: store.Store, board: Board, jobs: Sequence[AnyJob], unlisted: Sequence[tuple[dict[str, Any], str]]
) -> None:
    keys = list(dict.fromkeys(job.key for job in jobs))
    saved.set_plan(board.name, board.to_dict(), keys, board.origin, unlisted, picking_keys(jobs))


def _always(job: AnyJob) -> bool:
    return True


def _inputs(saved: store.Store, found: Mapping[str, Record]) -> Asking:
    """Return a function that reads the results of the jobs that a job needs from the store."""

    def given(job: AnyJob) -> JobInputs:
        return inputs_of(job, lambda key: JobResult(found[key], saved.adversarial(key)))

    return given


class _StoppingRule:
    """Evaluates the stopping rule of a board whenever one more of its first blocks is finished.

    Args:
        board: the board.
        jobs: its jobs.
        found: the records by key; those that are added later count as well.
    """

    def __init__(self, board: Board, jobs: Sequence[AnyJob], found: Mapping[str, Record]):
        self.board, self.found = board, found
        self.left = Counter(job.block for job in jobs if job.key not in found)
        self.looked = self.whole_blocks()
        end = ending(board, found.values())  # of the rows with records: further rows may have been added to the board
        self.end: Ending | None = None if end is None or end.blocks > self.looked else end

    def after(self, record: Record) -> bool:
        """Return whether the run ends with this record, which was just added."""
        self.left[record.block] -= 1
        if (whole := self.whole_blocks()) > self.looked:
            self.end, self.looked = ending(self.board, self.found.values(), self.looked + 1), whole
        return self.end is not None

    def whole_blocks(self) -> int:
        """Return the number of first blocks without a remaining job."""
        most = self.board.most_blocks
        return next((block for block in range(most) if self.left[block]), most)


def _told(board: Board, end: Ending) -> str:
    spared = board.blocks - end.blocks
    counted = f"stopped after {end.blocks} of {board.blocks} blocks ({end.images} of {board.dataset.images} images)"
    return f"{counted}, {spared} saved, because {end.why}"


def _over_budget(board: Board, blocks: int, budget: float) -> str:
    return (
        f"stopped after {blocks} of {board.most_blocks} blocks ({board.images_of(blocks)} of "
        f"{board.images_of(board.most_blocks)} images), because the next block is not expected to end within the "
        f"budget of {duration(budget)}; the same command continues the run"
    )


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
        found = {key: record for key, record in found.items() if not record.errored}
        while rests := [job.key for job in jobs if job.key in found and any(key not in found for key in job.needs)]:
            found = {key: record for key, record in found.items() if key not in rests}
    return found
