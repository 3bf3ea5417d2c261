"""Handles SIGTERM and Ctrl-C: cleans up, prints one line, and exits with a code that identifies the signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from purebench.core.terminal_output import complain

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """A signal requested the end of the process.

    It is not an Exception, so that no job records it as its own failure.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Delay:
    """Delays the end of the process while a process is being started, which must not stop half-way."""

    active = False
    number: int | None = None


def _stop(number: int, frame: FrameType | None) -> None:
    if _Delay.active:
        _Delay.number = number
        return
    for one in SIGNALS:  # a second signal must not interrupt the cleanup
        signal.signal(one, signal.SIG_IGN)
    raise Stopped(number)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """End the process with one line and the exit code 128 + the signal's number on SIGINT or SIGTERM.

    Inside the `with` block, a signal is raised as `Stopped`, so that files are removed and workers are ended.
    """
    before = {one: signal.signal(one, _stop) for one in SIGNALS}
    try:
        yield
    except Stopped as stopped:
        told = SIGNALS[signal.Signals(stopped.number)]
        complain(f"purebench: {told}; finished jobs are saved, and the same command continues the run.")
        sys.exit(128 + stopped.number)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """Start processes inside without an interruption, and shield them from SIGINT.

    A terminal sends Ctrl-C to a whole group of processes. A signal that comes inside the `with` block is delivered to
    this process afterwards, which then ends the processes that it started. A process whose start is interrupted would
    print an error of its own.
    """
    _Delay.active = True
    try:
        with _without_sigint():
            yield
    finally:
        _Delay.active = False
        number, _Delay.number = _Delay.number, None
    if number is not None:
        _stop(number, None)


@contextmanager
def _without_sigint() -> Iterator[None]:
    """Block SIGINT; processes that are started inside inherit this."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
