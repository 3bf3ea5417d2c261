"""Runs jobs here, in this process or in several; a result does not depend on how many.

On a CPU every job runs on one thread, whatever the number of workers, because the order of floating-point sums
depends on the number of threads.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch

from purebench.board import Board
from purebench.context import Context, prepare
from purebench.errors import PurebenchError
from purebench.plan import Job
from purebench.runner import Finding, run_job


def default_workers(device: str) -> int:
    """A worker for each core on the CPU, one on any other device."""
    if torch.device(device).type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(jobs: Sequence[Job], context: Context, workers: int) -> Iterator[Finding]:
    """The findings of the jobs as they come, in any order.

    Raises PurebenchError if a worker dies; what it was doing is not lost but undone, and a later run does it.
    """
    if workers <= 1 or len(jobs) <= 1:
        with single_thread(context.device):
            for job in jobs:
                yield run_job(job, context)
    else:
        yield from _parallel(jobs, context.board, str(context.device), min(workers, len(jobs)))


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


def _parallel(jobs: Sequence[Job], board: Board, device: str, workers: int) -> Iterator[Finding]:
    fork = multiprocessing.get_context("spawn")
    todo = list(reversed(jobs))
    links: list[Connection] = []
    processes = []
    doing: dict[Any, Job] = {}
    try:
        for _ in range(workers):
            here, there = fork.Pipe()
            process = fork.Process(target=_work, args=(there, board, device), daemon=True)
            process.start()
            there.close()
            links.append(here)
            processes.append(process)
        for link in links:
            _send(link, todo, doing)
        while doing:
            for ready in wait(list(doing)):
                link = cast(Connection, ready)
                job = doing.pop(link)
                try:
                    answer = link.recv()
                except EOFError as error:
                    raise PurebenchError(
                        f"a worker died during {job.attack.name} on {job.defense.name} (memory?); run again to go on, "
                        "perhaps with --workers 1."
                    ) from error
                if isinstance(answer, PurebenchError):
                    raise answer
                yield answer
                _send(link, todo, doing)
    finally:
        for link in links:
            link.close()  # an idle worker ends by itself
        for process in processes:
            if doing:
                process.terminate()
            process.join(5)


def _send(link: Any, todo: list[Job], doing: dict[Any, Job]) -> None:
    if todo:
        doing[link] = todo.pop()
        link.send(doing[link])


def _work(link: Connection, board: Board, device: str) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1 if torch.device(device).type == "cpu" else torch.get_num_threads())
    try:
        context = prepare(board, device)
        while True:
            link.send(run_job(link.recv(), context))
    except PurebenchError as error:
        link.send(error)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
