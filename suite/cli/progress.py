"""Shows the progress of a command: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def progress_bar(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of steps that can be counted.

    The bar is on stderr, and is removed at the end. Where stderr is not a terminal, a line is printed at the first
    step and then at most every 20 seconds, so that a log shows that the command is running.

    Args:
        first: The description before the first step.

    Yields:
        progress(description, steps done, number of steps).
    """
    from rich.progress import Progress

    with _bar(first, Progress.get_default_columns(), lambda done, total: f"{done}/{total}") as progress:
        yield progress


@contextmanager
def bytes_bar(first: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show the progress of bytes, as `progress_bar` shows that of steps, with their rate.

    Args:
        first: The description before the first byte.

    Yields:
        progress(description, bytes done, number of bytes or None).
    """
    from rich.filesize import decimal
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()

    def text(done: int, total: int | None) -> str:
        return decimal(done) if total is None else f"{decimal(done)} of {decimal(total)}"

    with _bar(first, (*columns, TimeRemainingColumn()), text) as progress:
        yield progress


@contextmanager
def _bar(
    first: str, columns: Sequence[ProgressColumn], text: Callable[[int, int | None], str]
) -> Iterator[Callable[[str, int, int | None], None]]:
    from rich.progress import Progress

    from purebench.core.terminal_output import make_console

    errors = make_console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        shown, last = first, float("-inf")

        def progress(what: str, done: int, total: int | None) -> None:
            nonlocal shown, last
            if what != shown:
                bar.reset(task, total=total, description=what)
                shown = what
            bar.update(task, completed=done, total=total)
            now = bar.get_time()
            if not errors.is_terminal and now > last + SECONDS_BETWEEN_LINES:
                print(f"{what}: {text(done, total)}", file=sys.stderr, flush=True)
                last = now

        yield progress
