"""Shows the progress of a run: a bar that is removed at the end in a notebook, else the display for terminals."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

from purebench.execution.board_run import JobProgress
from purebench.execution.planning.remaining import RemainingTime
from purebench.execution.progress.pace import Pace
from purebench.execution.progress.terminal import run_progress
from purebench.records.record import Record

SECONDS_BETWEEN = 0.2
"""Shortest time between two updates of the bar."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; IPython is not imported for this."""
    if "IPython" not in sys.modules:
        return False
    shell = import_module("IPython").get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def watching(wanted: bool) -> Iterator[JobProgress]:
    """Show the progress inside a `with` block, in a notebook or a terminal.

    Args:
        wanted: whether to show it.

    Yields:
        The function that `run_board` calls with its progress.
    """
    if not wanted:
        yield lambda done, total, record: None
    elif in_notebook():
        with _bar() as tell:
            yield tell
    else:
        with run_progress() as tell:
            yield tell


class NotebookProgress:
    """The progress of a run as a bar in the output of a notebook's cell.

    Args:
        show: shows HTML in place of what it showed before.
        clock: the time in seconds.
    """

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float]):
        self.show, self.clock = show, clock
        self.pace = Pace(clock)
        self.last = float("-inf")

    def expect(self, remaining: RemainingTime) -> None:
        """Take the remaining time of a run (`Forecasting`)."""
        self.pace.remaining = remaining

    def __call__(self, done: int, total: int, record: Record | None) -> None:
        """Show the state of a run (`JobProgress`)."""
        self.pace.note(done, total, record)
        now = self.clock()
        if now - self.last >= SECONDS_BETWEEN:
            self.last = now
            what = f"{record.defense} · {record.attack}" if record else "starting"
            self.show(bar(done, total, ", ".join(filter(None, (what, self.pace.text)))))


@contextmanager
def _bar() -> Iterator[NotebookProgress]:
    shown: Any = import_module("IPython.display")
    handle = shown.display(shown.HTML(bar(0, 0, "preparing")), display_id=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # of a library whose bars are not shown
            yield NotebookProgress(lambda text: handle.update(shown.HTML(text)), time.monotonic)
    finally:
        handle.update(shown.HTML(""))


def bar(done: int, total: int, what: str) -> str:
    """Return the bar as HTML.

    Args:
        done: the number of finished jobs.
        total: the number of all jobs, 0 while it is unknown.
        what: the text next to the bar.
    """
    share = f' value="{done}" max="{total}"' if total else ""
    count = f"{done} of {total} jobs, " if total else ""
    return f"<div><progress{share}></progress> {count}{escape(what)}</div>"
