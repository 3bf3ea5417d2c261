"""Runs jobs in processes of this machine: on CPU cores, or on one or several GPUs."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob
from purebench.execution.backends.pool import Limits, Slot, WorkerEnded, WorkerPool
from purebench.execution.backends.spawned import work
from purebench.execution.backends.worker import Message
from purebench.execution.interruption import shielded
from purebench.execution.jobs.job_record import JobInputs

SECONDS_TO_END = 15.0


class Processes(WorkerPool):
    """The backend of spawned processes.

    Args:
        board: the board, without the rows that are left out.
        devices: the device of each worker.
        limits: the time limits.
        tell: called with one line when a worker is replaced.
    """

    def __init__(
        self,
        board: Board,
        devices: Sequence[str],
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        tell: Callable[[str], None] = lambda line: None,
    ):
        super().__init__(limits, tell)
        self.devices = devices
        self.packed = {device: pickle.dumps((board, device)) for device in devices}

    def _places(self) -> Sequence[tuple[str, str]]:
        return [(f"worker {number} ({device})", device) for number, device in enumerate(self.devices, 1)]

    def _start(self, slot: Slot) -> None:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe()
        process = spawn.Process(target=work, args=(there, self.packed[slot.device]), daemon=True)
        with shielded():
            process.start()
            there.close()
            slot.handle, slot.awaited = (process, here), here

    def _send(self, slot: Slot, job: AnyJob, inputs: JobInputs) -> None:
        process, link = _of(slot)
        try:
            link.send((job, inputs))
        except OSError as error:
            raise WorkerEnded(_why(process)) from error
        slot.awaited = link

    def _with_message(self, slots: Sequence[Slot], seconds: float) -> Sequence[Slot]:
        ready = wait([_of(slot)[1] for slot in slots], seconds)
        return [slot for slot in slots if _of(slot)[1] in ready]

    def _receive(self, slot: Slot) -> Message:
        process, link = _of(slot)
        try:
            message: Message = link.recv()
        except (EOFError, OSError) as error:
            raise WorkerEnded(_why(process)) from error
        return message

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self.slots:  # all at once, so that they end at the same time
            if slot.handle is not None and slot.awaited is None:
                _of(slot)[1].close()
        super().__exit__(kind, error, trace)

    def _stop(self, slot: Slot) -> None:
        if slot.handle is None:
            return
        process, link = _of(slot)
        link.close()
        if slot.awaited is None:  # an idle worker ends on its own, and so without leaving resources of its libraries
            process.join(SECONDS_TO_END)
        process.terminate()
        process.join(SECONDS_TO_END)
        if process.exitcode is None:
            process.kill()
            process.join(SECONDS_TO_END)
        slot.handle = None


def _of(slot: Slot) -> tuple[SpawnProcess, Connection]:
    process, link = slot.handle
    return process, link


def _why(process: SpawnProcess) -> str:
    """Return why a process has ended, in words."""
    process.join(SECONDS_TO_END)
    code = process.exitcode
    if code is None:
        return "its connection is closed"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}, perhaps for lack of memory" if name == "SIGKILL" else name
    return f"signal {-code}"
