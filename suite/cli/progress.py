"""Shows the progress of a command: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

    from purebench.core.terminal_output import make_console

    errors = make_console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        last = float("-inf")

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            bar.update(task, description=what, completed=done, total=total)
            now = bar.get_time()
            if not errors.is_terminal and now > last + SECONDS_BETWEEN_LINES:
                print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
                last = now

        yield progress
