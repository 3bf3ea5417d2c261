"""Shows the progress of a run: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from purebench.core.terminal_output import complain, make_console, printable
from purebench.execution.board_run import JobProgress
from purebench.records.record import Record

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def run_progress(*, parts: bool = False) -> Iterator[JobProgress]:
    """Show a progress bar on a terminal, else a line from time to time, so that a log shows that the run is alive.

    Each distinct reason of an error is printed once, and at the end how to run those jobs again.

    Args:
        parts: whether many small runs are shown, whose starts and ends are not printed.

    Yields:
        The function that `run_board` calls with its progress.
    """
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None)
        last = [0.0]
        reasons: dict[tuple[str, str], int] = {}

        def tell(done: int, total: int, record: Record | None) -> None:
            what = printable(f"{record.defense} · {record.attack}" if record else f"{total - done} jobs to run")
            if record and record.errored:
                told = (record.defense, record.reason)
                reasons[told] = reasons.get(told, 0) + 1
                if reasons[told] == 1:
                    console.print(Text(f"{what}: {printable(record.reason)}", style="yellow"))
            bar.update(task, completed=done, total=total, description=what)
            if not console.is_terminal:
                now = bar.get_time()
                marked = not parts and (record is None or done == total)
                if marked or now - last[0] > SECONDS_BETWEEN_LINES:
                    print(f"{done}/{total} jobs, {what}", file=sys.stderr, flush=True)
                    last[0] = now

        yield tell
    if reasons:
        jobs = sum(reasons.values())
        complain(f"{jobs} {'job' if jobs == 1 else 'jobs'} ended in an error; --retry-errors runs them again.")
