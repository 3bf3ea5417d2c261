"""Shows the progress of a run: a bar that is removed at the end in a notebook, else the display for terminals."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

from purebench.execution.board_run import JobProgress
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


@contextmanager
def _bar() -> Iterator[JobProgress]:
    shown: Any = import_module("IPython.display")
    handle = shown.display(shown.HTML(bar(0, 0, "preparing")), display_id=True)
    last = 0.0

    def tell(done: int, total: int, record: Record | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN:
            last = now
            handle.update(shown.HTML(bar(done, total, f"{record.defense} · {record.attack}" if record else "begun")))

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # of a library whose bars are not shown
            yield tell
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
