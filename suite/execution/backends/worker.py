"""Runs jobs of one board in a process: a worker prepares the board once, and then answers each job with a message."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob, Job, WorstCaseJob
from purebench.core.compute.memory import keep_freed_memory
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.faults import explain
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobInputs, JobResult
from purebench.execution.jobs.worst_case_job import run_worst_case

READY = "ready"
"""What a worker sends when it is prepared."""


@dataclass(frozen=True)
class Failed:
    """A worker failed with an error that is not one of the attack or the defense, such as a lack of memory.

    Attributes:
        reason: the error in one line.
    """

    reason: str


Message = str | JobResult | PurebenchError | Failed


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


class Worker:
    """A board that is prepared in the process of a worker.

    Args:
        board: the board, without the rows that are left out.
        device: the device of this worker.
    """

    def __init__(self, board: Board, device: str):
        keep_freed_memory()
        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        self.context = prepare(board, device)
        self.planned = {(job.defense.name, job.label, job.block): job for job in self.context.jobs()}

    def run(self, job: AnyJob, inputs: JobInputs) -> Message:
        """Run a job, and return its result, or the error that prevents it.

        Args:
            job: the job.
            inputs: the results of the jobs that it needs.
        """
        try:
            self._require_same(job)
            return run(job, self.context, inputs)
        except PurebenchError as error:
            return error
        except Exception as error:
            return Failed(explain(error))

    def _require_same(self, job: AnyJob) -> None:
        """Raise PurebenchError if this worker would run the job with other code, weights or images."""
        here = self.planned.get((job.defense.name, job.label, job.block))
        if here is not None and here.key == job.key:
            return
        where = f"the worker on {platform.node()}"
        if job.defense.name in self.context.left_out:
            raise PurebenchError(f"{where}: {job.defense.name}: {self.context.left_out[job.defense.name]}")
        raise PurebenchError(
            f"{where}: expected the job {job.label} on {job.defense.name} that this run planned, but its key there is "
            f"another one, because {_difference(job, here)}; install the same versions and files on every machine, and "
            "do not change files during a run."
        )


def serve(link: Connection, board: Board, device: str) -> None:
    """Prepare a board, and answer the jobs that come through a connection until it is closed.

    Args:
        link: the connection.
        board: the board.
        device: the device of this worker.

    Raises:
        EOFError: the connection is closed.
    """
    try:
        worker = Worker(board, device)
    except PurebenchError as error:
        link.send(error)
        return
    except Exception as error:
        link.send(Failed(explain(error)))
        return
    link.send(READY)
    while True:
        job, inputs = link.recv()
        link.send(worker.run(job, inputs))


def _difference(job: AnyJob, here: AnyJob | None) -> str:
    """Return in words which parts of a job differ on a worker."""
    if here is None:
        return "the job is not in its plan"
    if not isinstance(job, Job) or not isinstance(here, Job):
        return "the attack jobs that it needs differ"
    parts = [part for part in job.code if job.code[part] != here.code.get(part)]
    if not parts:
        return "the weights, the images, the settings or the networks that can be compiled differ"
    return f"the code differs ({', '.join(_versions(part, job, here) for part in parts)})"


def _versions(part: str, job: Job, here: Job) -> str:
    if part != "packages":
        return part
    ours, theirs = job.code[part], here.code.get(part, {})
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(
        f"{name} {ours.get(name, 'missing')} here and {theirs.get(name, 'missing')} there" for name in names
    )
