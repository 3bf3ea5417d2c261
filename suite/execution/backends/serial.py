"""Runs jobs in this process, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from purebench.boards.jobs import AnyJob
from purebench.core.compute.devices import single_thread
from purebench.core.compute.memory import keep_freed_memory
from purebench.execution.backends.protocol import Backend, Done, Lost
from purebench.execution.backends.worker import run
from purebench.execution.context import Context
from purebench.execution.jobs.job_record import JobInputs


class Serial(Backend):
    """The backend without further processes; a job cannot be lost without this process.

    Args:
        context: the prepared board.
    """

    def __init__(self, context: Context):
        self.context = context
        self.next: tuple[AnyJob, JobInputs] | None = None
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        keep_freed_memory()
        self.stack.enter_context(single_thread(self.context.device))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    @property
    def free(self) -> int:
        """1 if there is no job to run, else 0."""
        return int(self.next is None)

    @property
    def busy(self) -> bool:
        """Whether there is a job to run."""
        return self.next is not None

    @property
    def workers(self) -> int:
        """1, for this process."""
        return 1

    def submit(self, job: AnyJob, inputs: JobInputs) -> None:
        """Keep a job, which `answers` runs."""
        self.next = job, inputs

    def answers(self) -> Sequence[Done | Lost]:
        """Run the job."""
        assert self.next is not None
        job, inputs = self.next
        result = run(job, self.context, inputs)
        self.next = None
        return [Done(job, result)]
