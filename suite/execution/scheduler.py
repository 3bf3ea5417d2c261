"""Runs jobs here, in this process or in several; a result does not depend on how many.

On a CPU every job runs on one thread, whatever the number of workers, because the order of floating-point sums
depends on the number of threads.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob, WorstCaseJob
from purebench.core.errors import PurebenchError
from purebench.core.memory import keep_freed_memory
from purebench.execution.context import Context, prepare
from purebench.execution.interruption import shielded
from purebench.execution.job import Finding, Given, run_job
from purebench.execution.worst_case_job import run_worst_case


def default_workers(device: str) -> int:
    """A worker for each core on the CPU, one on any other device."""
    if torch.device(device).type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Asking = Callable[[AnyJob], Given]
"""What the jobs that a job needs have found; asked when they are all done."""


def execute(
    jobs: Sequence[AnyJob],
    context: Context,
    workers: int,
    done: Collection[str] = (),
    given: Asking = lambda job: Given(),
) -> Generator[Finding, None, None]:
    """The findings of the jobs as they come, in any order but that a job follows those it needs.

    done: keys of jobs that were finished before. Raises PurebenchError if a worker dies; what it was doing is not lost
    but undone, and a later run does it.
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


def run(job: AnyJob, context: Context, given: Given) -> Finding:
    """Runs a job of either kind."""
    if isinstance(job, WorstCaseJob):
        return run_worst_case(job, context, given.before)
    return run_job(job, context, given)


class Queue:
    """Jobs to run, each once those it needs are done."""

    def __init__(self, jobs: Sequence[AnyJob], done: Collection[str] = ()):
        self.todo = {job.key: job for job in jobs}
        # what is not to be run here counts as done, so that no job can wait for it
        self.missing = {job.key: {key for key in job.needs if key in self.todo and key not in done} for job in jobs}

    def take(self) -> AnyJob | None:
        """The first job that may begin; None if all have been taken, or the others wait for one that has."""
        key = next((key for key in self.todo if not self.missing[key]), None)
        return None if key is None else self.todo.pop(key)

    def finish(self, job: AnyJob) -> None:
        """Those that waited for this job need not any more."""
        for waits in self.missing.values():
            waits.discard(job.key)


@contextmanager
def single_thread(device: torch.device) -> Iterator[None]:
    """One thread for torch on the CPU, for the time being."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parallel(queue: Queue, given: Asking, board: Board, device: str, workers: int) -> Generator[Finding, None, None]:
    fork = multiprocessing.get_context("spawn")
    idle: list[Connection] = []
    processes = []
    doing: dict[Any, AnyJob] = {}
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
                return
            for ready in wait(list(doing)):
                link = cast(Connection, ready)
                job = doing[link]
                try:
                    answer = link.recv()
                except EOFError as error:
                    raise PurebenchError(
                        f"a worker died during {job.label} on {job.defense.name} (memory?); run again to go on, "
                        "perhaps with --workers 1."
                    ) from error
                if isinstance(answer, PurebenchError):
                    raise answer
                yield answer
                del doing[link]
                queue.finish(job)
                idle.append(link)
    finally:
        for link in [*idle, *doing]:
            link.close()  # an idle worker ends by itself
        for process in processes:
            if doing:
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
