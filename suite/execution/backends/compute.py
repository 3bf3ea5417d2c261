"""Chooses the backend of a run from the options of its user: devices, number of workers, cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.execution.backends.pool import Limits
from purebench.execution.backends.processes import Processes
from purebench.execution.backends.protocol import Backend
from purebench.execution.backends.ray import Cluster, RayActors
from purebench.execution.backends.serial import Serial
from purebench.execution.context import Context

BACKENDS = ("auto", "serial", "processes", "ray")
AUTO = "auto"


@dataclass(frozen=True)
class Compute:
    """Where the jobs of a run are computed; it does not affect results on one kind of processor.

    Attributes:
        device: `cpu`, `cuda`, `cuda:0`, several such as `cuda:0,cuda:1`, or `auto` for all visible GPUs (without one,
            the CPU).
        workers: the number of workers; None for one per CPU core, or `per_device` per GPU.
        per_device: the number of workers that share a GPU; None for 1.
        backend: `serial`, `processes` or `ray`; `auto` for `serial` with one worker and without limits, which only
            another process can enforce, else `processes`.
        address: of a Ray cluster, host:port, or `auto` for the one of this machine; None starts Ray on this machine.
        cores: CPU cores that each Ray actor reserves.
        limits: the time limits that the user has set; None for the usual ones.
    """

    device: str = "cpu"
    workers: int | None = None
    per_device: int | None = None
    backend: str = AUTO
    address: str | None = None
    cores: int = 1
    limits: Limits | None = None

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            PurebenchError: an unknown backend, or options that contradict each other.
        """
        if self.backend not in BACKENDS:
            raise PurebenchError(f"--backend: {self.backend!r} is unknown; {did_you_mean(self.backend, BACKENDS)}")
        if self.backend != "ray" and (self.address is not None or self.cores != 1):
            raise PurebenchError("--address and --cores-per-worker belong to --backend ray; add it, or remove them.")
        if self.backend == "serial" and max(self.workers or 1, self.per_device or 1) > 1:
            raise PurebenchError("--backend serial: expected one worker, but got more; use --backend processes.")
        if self.backend == "serial" and self.limits is not None:
            raise PurebenchError(
                "--job-limit: expected a backend that can end a job, but got --backend serial, whose jobs run in this "
                "process; use --backend processes, or remove one of them."
            )
        if self.workers is not None and self.per_device is not None:
            raise PurebenchError("expected --workers or --workers-per-device, but got both; remove one of them.")

    def devices(self) -> list[str]:
        """Return the devices of this machine that are used.

        Raises:
            PurebenchError: a device is named twice, is not visible, or is of another kind than the first.
        """
        if self.device == AUTO:
            return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
        names = [name.strip() for name in self.device.split(",")]
        if len(set(names)) < len(names):
            raise PurebenchError(
                f"--device: expected each device once, but got {self.device}; --workers-per-device starts several "
                "workers on one."
            )
        kinds = {name.partition(":")[0] for name in names}
        if len(kinds) > 1:
            raise PurebenchError(
                f"--device: expected devices of one kind, but got {self.device}; results are equal only on one kind of "
                "processor."
            )
        visible = torch.cuda.device_count()
        for name in names if len(names) > 1 else ():
            kind, _, number = name.partition(":")
            if kind != "cuda" or not number.isdecimal() or int(number) >= visible:
                raise PurebenchError(
                    f"--device: expected GPUs that are visible to this process ({visible} are), but got {name!r}; use "
                    "names such as cuda:0,cuda:1, or auto."
                )
        return names

    def main_device(self) -> str:
        """Return the device of this process, which prepares the board."""
        if self.backend != "ray":
            return self.devices()[0]
        if self.device not in (AUTO, "cpu", "cuda"):
            raise PurebenchError(
                f"--device: expected cpu, cuda or auto with --backend ray, which chooses the GPUs, but got "
                f"{self.device!r}."
            )
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"

    def places(self) -> list[str]:
        """Return the device of each worker on this machine, in turns over the devices."""
        devices = self.devices()
        if devices == ["cpu"]:
            many = self.workers or self.per_device or cores_here()
        else:
            many = self.workers or (self.per_device or 1) * len(devices)
        return [devices[number % len(devices)] for number in range(many)]

    def backend_of(self, context: Context, jobs: int, tell: Callable[[str], None] = lambda line: None) -> Backend:
        """Return the backend that runs the jobs of a prepared board.

        Args:
            context: the prepared board.
            jobs: the number of jobs; no more workers than jobs are started.
            tell: called with one line when a worker is replaced.
        """
        if self.backend == "ray" and jobs:
            cluster = Cluster(self.address, self.device, self.workers, self.per_device or 1, self.cores)
            return RayActors(context.board, cluster, self.limits or Limits(), tell)
        places = self.places()[: max(1, jobs)]
        alone = self.backend == AUTO and len(places) == 1 and self.limits is None
        if self.backend == "serial" or jobs == 0 or alone:
            return Serial(context)
        return Processes(context.board, places, self.limits or Limits(), tell)


def cores_here() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
