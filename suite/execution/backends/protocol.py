"""Defines what the scheduler needs of a backend: it takes jobs, and answers each with a result or with its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from purebench.boards.jobs import AnyJob
from purebench.execution.jobs.job_record import JobInputs, JobResult


@dataclass(frozen=True)
class Done:
    """A finished job.

    Attributes:
        job: the job.
        result: its record and its adversarial images.
    """

    job: AnyJob
    result: JobResult


@dataclass(frozen=True)
class Lost:
    """A job whose worker ended, or did not answer in time, so that it must run again.

    Attributes:
        job: the job.
        reason: what happened to the worker.
    """

    job: AnyJob
    reason: str


class Backend(ABC):
    """Runs jobs whose needed results are given; it is used in a `with` block, which starts and ends its workers."""

    @property
    @abstractmethod
    def free(self) -> int:
        """The number of jobs that may be submitted now."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a submitted job has no answer yet."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of workers; known inside the `with` block."""

    @abstractmethod
    def submit(self, job: AnyJob, inputs: JobInputs) -> None:
        """Accept a job; at most `free` of them.

        Args:
            job: the job.
            inputs: the results of the jobs that it needs.
        """

    @abstractmethod
    def answers(self) -> Sequence[Done | Lost]:
        """Wait for at least one answer, and return all that are there.

        Raises:
            PurebenchError: no worker can run jobs, or a worker reports invalid input.
        """

    @abstractmethod
    def __enter__(self) -> Self:
        """Start the workers."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers, also those that run a job."""
