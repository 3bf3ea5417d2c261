"""Shows the progress of a run: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from purebench.core.terminal_output import complain, make_console, printable
from purebench.execution.planning.remaining import RemainingTime
from purebench.execution.progress.pace import Pace
from purebench.records.record import Record

SECONDS_BETWEEN_LINES = 20.0


class TerminalProgress:
    """The progress of runs: a bar on a terminal, else a line from time to time.

    Each distinct reason of an error is printed once.

    Args:
        console: stderr.
        bar: the bar, which is not shown if the console is no terminal.
        parts: whether many small runs are shown, whose starts and ends are not printed.
    """

    def __init__(self, console: Console, bar: Bars, parts: bool):
        self.console, self.bar, self.parts = console, bar, parts
        self.task = bar.add_task("preparing", total=None, pace="")
        self.pace = Pace(bar.get_time)
        self.last = 0.0
        self.reasons: Counter[tuple[str, str]] = Counter()

    def expect(self, remaining: RemainingTime) -> None:
        """Take the remaining time of a run (`Forecasting`)."""
        self.pace.remaining = remaining

    def __call__(self, done: int, total: int, record: Record | None) -> None:
        """Show the state of a run (`JobProgress`)."""
        what = printable(f"{record.defense} · {record.attack}" if record else f"{total - done} jobs to run")
        if record and record.errored:
            told = (record.defense, record.reason)
            self.reasons[told] += 1
            if self.reasons[told] == 1:
                self.console.print(Text(f"{what}: {printable(record.reason)}", style="yellow"))
        self.pace.note(done, total, record)
        self.bar.update(self.task, completed=done, total=total, description=what, pace=self.pace.text)
        if not self.console.is_terminal:
            self._line(f"{done}/{total} jobs, {what}", marked=not self.parts and (record is None or done == total))

    def _line(self, text: str, *, marked: bool) -> None:
        now = self.bar.get_time()
        if marked or now - self.last > SECONDS_BETWEEN_LINES:
            beside = f", {self.pace.text}" if self.pace.text else ""
            print(f"{text}{beside}", file=sys.stderr, flush=True)
            self.last = now


@contextmanager
def run_progress(*, parts: bool = False) -> Iterator[TerminalProgress]:
    """Show a progress bar on a terminal, else a line from time to time, so that a log shows that the run is alive.

    Each distinct reason of an error is printed once, and at the end how to run those jobs again.

    Args:
        parts: whether many small runs are shown, whose starts and ends are not printed.

    Yields:
        The object that `run_board` calls with its progress.
    """
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bar:
        tell = TerminalProgress(console, bar, parts)
        yield tell
    if jobs := tell.reasons.total():
        complain(f"{jobs} {'job' if jobs == 1 else 'jobs'} ended in an error; --retry-errors runs them again.")
