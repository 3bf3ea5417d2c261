"""What a claim is at while its test runs: a few words after pytest's own, on a terminal only, and gone when it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from purebench.execution.board_run import Progress
    from purebench.records.record import Record

KEEP, BACK, ERASE = "\x1b7", "\x1b8", "\x1b[K"
"""To a terminal: remember where the cursor stands, go there again, erase what is right of it."""


@contextmanager
def progress(config: pytest.Config) -> Iterator[Progress]:
    """Tells of every job; silent where nobody watches: not on a terminal, with -q, in a worker of pytest-xdist."""
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
    """Writes the text where the line of pytest ends, as far as it fits, and leaves the cursor where it was."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        writer = config.get_terminal_writer()
        if sys.stdout.isatty() and writer.hasmarkup:
            room = max(0, writer.fullwidth - writer.width_of_current_line - 1)
            sys.stdout.write(f"{KEEP}{text[:room]}{ERASE}{BACK}")
            sys.stdout.flush()
