"""Shows the progress of a claim on pytest's line while its test runs, on a terminal only; it is erased at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from purebench.execution.board_run import JobProgress
    from purebench.records.record import Record

KEEP, BACK, ERASE = "\x1b7", "\x1b8", "\x1b[K"
"""Terminal sequences: save the cursor position, restore it, erase to the right of it."""


@contextmanager
def claim_progress(config: pytest.Config) -> Iterator[JobProgress]:
    """Yield a function that shows every job that ends.

    It shows nothing if stdout is not a terminal, with -q, and in a worker of pytest-xdist.
    """
    watched = config.pluginmanager.has_plugin("terminalreporter") and config.get_verbosity() >= 0
    if not watched or hasattr(config, "workerinput"):
        yield lambda done, total, record: None
        return

    def tell(done: int, total: int, record: Record | None) -> None:
        if record is not None:
            _beside(config, f" {record.defense} · {record.attack}, block {record.block + 1}: {done} of {total} jobs")

    try:
        yield tell
    finally:
        _beside(config, "")


def _beside(config: pytest.Config, text: str) -> None:
    """Write the text after pytest's own on its line, as far as it fits, and leave the cursor where it was."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        writer = config.get_terminal_writer()
        if sys.stdout.isatty() and writer.hasmarkup:
            room = max(0, writer.fullwidth - writer.width_of_current_line - 1)
            sys.stdout.write(f"{KEEP}{text[:room]}{ERASE}{BACK}")
            sys.stdout.flush()
