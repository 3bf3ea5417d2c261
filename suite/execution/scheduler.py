"""Runs jobs in this process or in several; the number of processes does not affect results.

On a CPU every job runs on one thread, whatever the number of workers, because the order of floating-point sums depends
on the number of threads.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob, WorstCaseJob
from purebench.core.compute.memory import keep_freed_memory
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, prepare
from purebench.execution.interruption import shielded
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobInputs, JobResult
from purebench.execution.jobs.worst_case_job import run_worst_case


def default_workers(device: str) -> int:
    """Return the number of cores on a CPU, and 1 on any other device."""
    if torch.device(device).type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Asking = Callable[[AnyJob], JobInputs]
"""Returns the results of the jobs that a job needs; called when all of them are finished."""


def execute(
    jobs: Sequence[AnyJob],
    context: Context,
    workers: int,
    done: Collection[str] = (),
    given: Asking = lambda job: JobInputs(),
) -> Generator[JobResult, None, None]:
    """Run jobs and yield their results as they finish; a job starts after those it needs.

    Args:
        jobs: the jobs.
        context: the prepared board.
        workers: the number of processes.
        done: keys of jobs that were finished before.
        given: returns the results of the jobs that a job needs.

    Yields:
        The results, in any order.

    Raises:
        PurebenchError: a worker died. Its current job has no record, and a later run runs it again.
    """
    keep_freed_memory()
    queue = Queue(jobs, done)
    if workers <= 1 or len(jobs) <= 1:
        with single_thread(context.device):
            while job := queue.take():
                yield run(job, context, given(job))
                queue.finish(job)
    else:
        yield from _parallel(queue, given, context.board, str(context.device), min(workers, len(jobs)))


def run(job: AnyJob, context: Context, given: JobInputs) -> JobResult:
    """Run an attack job or a worst-case job.

    Args:
        job: the job.
        context: the prepared board.
        given: the results of the jobs that it needs.
    """
    if isinstance(job, WorstCaseJob):
        return run_worst_case(job, context, given.before)
    return run_job(job, context, given)


class Queue:
    """Jobs to run, each once the jobs that it needs are finished.

    Args:
        jobs: the jobs.
        done: keys of jobs that were finished before.
    """

    def __init__(self, jobs: Sequence[AnyJob], done: Collection[str] = ()):
        self.jobs = {job.key: job for job in jobs}
        self.place = {key: place for place, key in enumerate(self.jobs)}
        # jobs that are not in the queue count as finished, so that no job waits for them
        waits = {
            key: [other for other in job.needs if other in self.jobs and other not in done]
            for key, job in self.jobs.items()
        }
        self.sorter = TopologicalSorter(waits)
        self.sorter.prepare()
        self.ready: list[tuple[int, str]] = []

    def take(self) -> AnyJob | None:
        """Remove and return the first job that may start; None if no job remains, or all wait for running jobs."""
        for key in self.sorter.get_ready():
            heappush(self.ready, (self.place[key], key))
        return self.jobs[heappop(self.ready)[1]] if self.ready else None

    def finish(self, job: AnyJob) -> None:
        """Mark a job as finished, so that jobs that need it may start."""
        self.sorter.done(job.key)


@contextmanager
def single_thread(device: torch.device) -> Iterator[None]:
    """Use one thread of torch on the CPU inside a `with` block."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parallel(queue: Queue, given: Asking, board: Board, device: str, workers: int) -> Generator[JobResult, None, None]:
    fork = multiprocessing.get_context("spawn")
    idle: list[Connection] = []
    processes = []
    doing: dict[Any, AnyJob] = {}
    complete = False
    try:
        for _ in range(workers):
            here, there = fork.Pipe()
            process = fork.Process(target=_work, args=(there, board, device), daemon=True)
            with shielded():
                process.start()
                there.close()
                idle.append(here)
                processes.append(process)
        while True:
            while idle and (job := queue.take()):
                link = idle.pop()
                doing[link] = job
                link.send((job, given(job)))
            if not doing:
                complete = True
                return
            for ready in wait(list(doing)):
                link = cast(Connection, ready)
                job = doing[link]
                try:
                    answer = link.recv()
                except EOFError as error:
                    raise PurebenchError(
                        f"a worker process died during {job.label} on {job.defense.name}, perhaps for lack of "
                        "memory; run again to continue, for example with --workers 1."
                    ) from error
                if isinstance(answer, PurebenchError):
                    raise answer
                yield answer
                del doing[link]
                queue.finish(job)
                idle.append(link)
    finally:
        for link in [*idle, *doing]:
            link.close()  # an idle worker then ends on its own
        for process in processes:
            if not complete:
                process.terminate()
            process.join(5)


def _work(link: Connection, board: Board, device: str) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(1 if torch.device(device).type == "cpu" else torch.get_num_threads())
    try:
        context = prepare(board, device)
        while True:
            job, given = link.recv()
            link.send(run(job, context, given))
    except PurebenchError as error:
        link.send(error)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
