"""Runs jobs as actors on a Ray cluster, or on this machine under Ray; this process alone writes the store.

Ray places the actors: each takes one GPU (or a share of it), or a number of CPU cores. An actor that ends, alone or
with its node, is replaced by a new one, which Ray places where there is room.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob
from purebench.core.errors import PurebenchError
from purebench.execution.backends.pool import Limits, Slot, WorkerEnded, WorkerPool
from purebench.execution.backends.worker import READY, Failed, Message, Worker
from purebench.execution.jobs.faults import explain
from purebench.execution.jobs.job_record import JobInputs

SECONDS_TO_REACH = 10.0
"""Time limit of the first contact with a cluster."""
SECONDS_TO_CONNECT = 60.0
"""Time limit until Ray has connected to a running cluster."""
SECONDS_TO_FETCH = 600.0
"""Time limit of the transfer of a result."""
CURE = "check the address that `ray start --head` printed, and that its port is open"


@dataclass(frozen=True)
class Cluster:
    """Where the actors run.

    Attributes:
        address: host:port of a running cluster; `auto` for the one on this machine, None to start Ray here.
        device: `cpu` or `cuda`; `auto` for GPUs if the cluster has some.
        workers: the number of actors; None for as many as the cluster has room for at the start.
        per_device: actors per GPU.
        cores: CPU cores that each actor reserves.
    """

    address: str | None = None
    device: str = "auto"
    workers: int | None = None
    per_device: int = 1
    cores: int = 1


class RayWorker:
    """The actor: a worker that reports errors of its start as a message.

    Args:
        board: the board, without the rows that are left out.
        device: its device.
        folder: the working directory of the run, from which the board's relative paths are seen.
    """

    def __init__(self, board: Board, device: str, folder: str):
        self.worker: Worker | None = None
        self.message: Message = READY
        if Path(folder).is_dir():
            os.chdir(folder)
        try:
            self.worker = Worker(board, device)
        except PurebenchError as error:
            self.message = error
        except Exception as error:
            self.message = Failed(explain(error))

    def ready(self) -> Message:
        """Return READY, or the error of the start."""
        return self.message

    def run(self, job: AnyJob, inputs: JobInputs) -> Message:
        """Run a job."""
        return self.worker.run(job, inputs) if self.worker is not None else self.message


class RayActors(WorkerPool):
    """The backend of Ray actors.

    Args:
        board: the board, without the rows that are left out.
        cluster: where they run.
        limits: the time limits.
        tell: called with one line when an actor is replaced.
    """

    def __init__(
        self,
        board: Board,
        cluster: Cluster,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        tell: Callable[[str], None] = lambda line: None,
    ):
        super().__init__(limits, tell)
        self.board, self.cluster = board, cluster
        self.ray: Any = None
        self.connected = False

    def __enter__(self) -> Self:
        self.ray = import_ray()
        if not self.ray.is_initialized():
            connect(self.ray, self.cluster.address)
            self.connected = True
        try:
            return super().__enter__()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self.connected:
            self.ray.shutdown()
            self.connected = False

    def _places(self) -> Sequence[tuple[str, str]]:
        room = self.ray.cluster_resources()
        gpus, cpus = int(room.get("GPU", 0)), int(room.get("CPU", 0))
        device = ("cuda" if gpus else "cpu") if self.cluster.device == "auto" else self.cluster.device
        most = gpus * self.cluster.per_device if device != "cpu" else cpus // self.cluster.cores
        if most < 1:
            raise PurebenchError(
                f"expected a Ray cluster with room for a worker on {device} with {self.cluster.cores} cores, but it "
                f"has {gpus} GPUs and {cpus} CPU cores; start nodes with more (ray start --num-cpus N --num-gpus N), "
                "or choose another --device."
            )
        many = most if self.cluster.workers is None else self.cluster.workers
        return [(f"actor {number} ({device})", device) for number in range(1, many + 1)]

    def _start(self, slot: Slot) -> None:
        gpus = 0.0 if slot.device == "cpu" else 1 / self.cluster.per_device
        # the actor is not restarted by Ray, so that the scheduler counts how often a job was lost
        options = {"num_cpus": self.cluster.cores, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        slot.handle = self.ray.remote(**options)(RayWorker).remote(self.board, slot.device, os.getcwd())
        slot.awaited = slot.handle.ready.remote()

    def _send(self, slot: Slot, job: AnyJob, inputs: JobInputs) -> None:
        slot.awaited = slot.handle.run.remote(job, inputs)

    def _with_message(self, slots: Sequence[Slot], seconds: float) -> Sequence[Slot]:
        refs = {slot.awaited: slot for slot in slots}
        ready, _ = self.ray.wait(list(refs), num_returns=1, timeout=seconds)
        return [refs[ref] for ref in ready]

    def _receive(self, slot: Slot) -> Message:
        errors = self.ray.exceptions
        try:
            message: Message = self.ray.get(slot.awaited, timeout=SECONDS_TO_FETCH)
        except errors.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            told = lines[0] if lines else ""
            raise WorkerEnded(f"{type(error).__name__}: {told[:300]}") from error
        return message

    def _stop(self, slot: Slot) -> None:
        if slot.handle is not None:
            with suppress(Exception):  # it has ended with its node
                self.ray.kill(slot.handle, no_restart=True)
            slot.handle = None

    def _not_ready(self) -> str:
        free = self.ray.available_resources()
        room = f"{free.get('CPU', 0):g} CPU cores and {free.get('GPU', 0):g} GPUs are free"
        return f"{len(self.slots)} actors wait until Ray places them, and {room} in the cluster"


def import_ray() -> Any:
    """Import Ray.

    Raises:
        PurebenchError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics about its use otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise PurebenchError(
            f"--backend ray: expected Ray to be installed, but it is not ({error}); pip install 'purebench[ray]'."
        ) from error


def connect(ray: Any, address: str | None, seconds: float = SECONDS_TO_CONNECT) -> None:
    """Connect to a cluster, or start Ray on this machine.

    Args:
        ray: the module.
        address: host:port, `auto`, or None to start Ray.
        seconds: the time limit for a running cluster; Ray has its own for its start.

    Raises:
        PurebenchError: the cluster cannot be reached in time, or Ray cannot start.
    """
    if address not in (None, "auto"):
        _reach(str(address))
    known = {name: value for name, value in os.environ.items() if name.startswith("PUREBENCH_")}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    options |= {"runtime_env": {"env_vars": known}} if known else {}
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ray.init(address=address, **options)
        except BaseException as error:  # raised below, in the thread of the caller
            failed.append(error)

    if address is None:  # in this thread, because processes that it starts end with the thread
        address, options["include_dashboard"] = "local", False
        with _own_signals():
            work()
    else:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise PurebenchError(f"--address: {address} answers, but Ray does not within {seconds:g} s; {CURE}.")
    if failed:
        told = next((line.strip() for line in str(failed[0]).splitlines() if line.strip()), type(failed[0]).__name__)
        raise PurebenchError(f"--backend ray: {address} cannot be used ({told[:300]}); {CURE}.") from failed[0]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the signal handlers of this process, which Ray replaces."""
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for one, handler in handlers.items():
            signal.signal(one, handler)


def _reach(address: str) -> None:
    """Raise PurebenchError for an address that is invalid, or at which nothing listens."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise PurebenchError(f"--address: expected host:port, such as 10.0.0.1:6379, or auto, but got {address!r}.")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_REACH).close()
    except OSError as error:
        raise PurebenchError(
            f"--address: nothing answers at {address} within {SECONDS_TO_REACH:g} s ({error}); {CURE}."
        ) from error
