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


def _stop(number: int, frame: FrameType | None) -> None:
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
    """Shield processes that are started inside from SIGINT: a terminal sends Ctrl-C to a whole group of processes.

    The signal is delivered to this process afterwards, which ends the processes that it started.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
