"""A backend of several workers: starts them, gives them jobs, and replaces those that end or do not answer in time."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from purebench.boards.jobs import AnyJob
from purebench.core.errors import PurebenchError
from purebench.core.files.text import duration
from purebench.execution.backends.protocol import Backend, Done, Lost
from purebench.execution.backends.worker import Failed, Message
from purebench.execution.jobs.job_record import JobInputs, JobResult

POLL = 1.0
"""Longest single wait for messages in seconds; the time limits are checked between two waits."""
MOST_STARTS = 3
"""A worker that ended this often in a row while it started is not started again."""


@dataclass(frozen=True)
class Limits:
    """Time limits of all waits.

    Attributes:
        job: a worker that runs one job for longer, in seconds, is ended, and the job is lost.
        start: the run ends with an error if for this time, in seconds, no worker is ready.
    """

    job: float = 24 * 3600.0
    start: float = 900.0


@dataclass
class Slot:
    """One worker of the pool; a worker that ends is replaced by a new one in its slot.

    Attributes:
        name: the worker's name in messages, with its device.
        device: its device.
        handle: the process or the actor.
        awaited: what the next message comes from; None while the worker is idle.
        job: the job that it runs.
        since: when the job was sent.
        failed: how often in a row the worker ended while it started.
    """

    name: str
    device: str
    handle: Any = None
    awaited: Any = None
    job: AnyJob | None = None
    since: float = 0.0
    failed: int = 0


class WorkerEnded(Exception):
    """A worker has ended, or cannot be reached; the message says why."""


class WorkerPool(Backend):
    """Runs jobs on workers that are started by a subclass.

    Args:
        limits: the time limits.
        tell: called with one line when a worker is replaced.
    """

    def __init__(self, limits: Limits, tell: Callable[[str], None] = lambda line: None):
        self.limits, self.tell = limits, tell
        self.slots: list[Slot] = []
        self.pending: deque[tuple[AnyJob, JobInputs]] = deque()
        self.heard = time.monotonic()
        self.failure: PurebenchError | None = None
        """The error of a worker that ends the run; it is raised when the answers that arrived with it are returned."""

    @abstractmethod
    def _places(self) -> Sequence[tuple[str, str]]:
        """Return name and device of each worker."""

    @abstractmethod
    def _start(self, slot: Slot) -> None:
        """Start a worker, and set `handle` and `awaited` of its slot; it sends READY once it is prepared."""

    @abstractmethod
    def _send(self, slot: Slot, job: AnyJob, inputs: JobInputs) -> None:
        """Send a job to an idle worker, and set `awaited`. Raises WorkerEnded if the worker has ended."""

    @abstractmethod
    def _with_message(self, slots: Sequence[Slot], seconds: float) -> Sequence[Slot]:
        """Return the slots whose worker has sent a message or ended, after a wait of at most these seconds."""

    @abstractmethod
    def _receive(self, slot: Slot) -> Message:
        """Return the message of a worker. Raises WorkerEnded if the worker has ended."""

    @abstractmethod
    def _stop(self, slot: Slot) -> None:
        """End a worker at once, whatever it does."""

    def __enter__(self) -> Self:
        self.slots = [Slot(name, device) for name, device in self._places()]
        for slot in self.slots:
            self._start(slot)
        self.heard = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self.slots:
            self._stop(slot)

    @property
    def free(self) -> int:
        """The number of workers without a job."""
        return max(0, len(self.slots) - len(self.pending) - sum(slot.job is not None for slot in self.slots))

    @property
    def busy(self) -> bool:
        """Whether a job is waiting or running."""
        return bool(self.pending) or any(slot.job is not None for slot in self.slots)

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self.slots)

    def submit(self, job: AnyJob, inputs: JobInputs) -> None:
        """Send a job to an idle worker, or keep it until there is one."""
        self.pending.append((job, inputs))
        self._dispatch()

    def answers(self) -> Sequence[Done | Lost]:
        """Wait for an answer, and replace workers that ended.

        Answers that arrive together with an error are returned first, so that they can be saved; the next call raises
        the error.

        Raises:
            PurebenchError: a worker reports invalid input; or no worker starts, after a few attempts or in time.
        """
        while self.failure is None:
            self._dispatch()
            waiting = [slot for slot in self.slots if slot.awaited is not None]
            found = [self._answer(slot) for slot in self._with_message(waiting, POLL)]
            found += self._overdue()
            if answered := [one for one in found if one is not None]:
                return answered
        raise self.failure

    def _dispatch(self) -> None:
        """Send waiting jobs to idle workers; one that has ended meanwhile is replaced, and the job goes to another."""
        for slot in list(self.slots):
            if not self.pending:
                return
            if slot.awaited is None:
                try:
                    self._send(slot, *self.pending[0])
                except WorkerEnded as ended:
                    self._replace(slot, str(ended))
                    continue
                slot.job, _ = self.pending.popleft()
                slot.since = time.monotonic()

    def _answer(self, slot: Slot) -> Done | Lost | None:
        """Return what a worker's message says about its job; None for other messages, of which an error is kept."""
        self.heard = time.monotonic()
        try:
            message = self._receive(slot)
        except WorkerEnded as ended:
            return self._replace(slot, str(ended))
        if isinstance(message, PurebenchError):
            self.failure = self.failure or message
            return None
        if isinstance(message, Failed):
            return self._replace(slot, message.reason)
        job, slot.job, slot.awaited, slot.failed = slot.job, None, None, 0
        return Done(job, message) if job is not None and isinstance(message, JobResult) else None

    def _overdue(self) -> list[Lost | None]:
        """End workers whose job takes too long, and give up if no worker becomes ready."""
        now = time.monotonic()
        late = [slot for slot in self.slots if slot.job is not None and now - slot.since > self.limits.job]
        lost = [self._replace(slot, f"it did not answer within {duration(self.limits.job)}") for slot in late]
        starting = all(slot.awaited is not None and slot.job is None for slot in self.slots)
        if starting and now - self.heard > self.limits.start:
            raise PurebenchError(
                f"expected a worker that is ready within {duration(self.limits.start)}, but none is: "
                f"{self._not_ready()}; finished jobs are saved, and the same command continues the run."
            )
        return lost

    def _not_ready(self) -> str:
        """Return what the workers wait for."""
        return f"{len(self.slots)} are being started"

    def _replace(self, slot: Slot, reason: str) -> Lost | None:
        """Start a new worker in place of one that ended; return its job, which is lost."""
        self._stop(slot)
        job, slot.job, slot.awaited = slot.job, None, None
        slot.failed = slot.failed + 1 if job is None else 0
        doing = "while it started or waited" if job is None else f"during {job.label} on {job.defense.name}"
        if slot.failed < MOST_STARTS:
            self.tell(f"{slot.name} ended {doing} ({reason}); another one is started")
            self._start(slot)
        else:
            self.slots.remove(slot)
            told = f"{slot.name} ended {slot.failed} times in a row while it started ({reason})"
            if not self.slots:
                raise PurebenchError(
                    f"{told}, and no other worker is left; with too little memory, use fewer workers (--workers 1)."
                )
            self.tell(f"{told}; the others go on without it")
        self.heard = time.monotonic()
        return None if job is None else Lost(job, reason)
