"""Shows the progress of a run: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from purebench.core.files.text import duration
from purebench.core.terminal_output import complain, make_console, printable
from purebench.execution.board_run import JobProgress
from purebench.records.record import Record

SECONDS_BETWEEN_LINES = 20.0


class Pace:
    """The throughput, remaining time and cost of a run.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.began, self.first, self.seconds = clock(), 0, 0.0
        self.text = ""

    def note(self, done: int, total: int, record: Record | None) -> None:
        """Take account of a job that has finished, or of the start of a run.

        Args:
            done: the number of finished jobs.
            total: the number of all jobs.
            record: the record of the job; None at the start.
        """
        if record is None:
            self.began, self.first, self.text = self.clock(), done, ""
            return
        self.seconds += record.wall_time
        elapsed, finished = self.clock() - self.began, done - self.first
        if elapsed <= 0 or finished <= 0:
            return
        left = elapsed * (total - done) / finished
        rest = f"{duration(left)} left, " if done < total else ""
        self.text = f"{60 * finished / elapsed:.3g} jobs/min, {rest}{duration(self.seconds)} of computation"


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
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None, pace="")
        pace = Pace(bar.get_time)
        last = [0.0]
        reasons: dict[tuple[str, str], int] = {}

        def tell(done: int, total: int, record: Record | None) -> None:
            what = printable(f"{record.defense} · {record.attack}" if record else f"{total - done} jobs to run")
            if record and record.errored:
                told = (record.defense, record.reason)
                reasons[told] = reasons.get(told, 0) + 1
                if reasons[told] == 1:
                    console.print(Text(f"{what}: {printable(record.reason)}", style="yellow"))
            pace.note(done, total, record)
            bar.update(task, completed=done, total=total, description=what, pace=pace.text)
            if not console.is_terminal:
                now = bar.get_time()
                marked = not parts and (record is None or done == total)
                if marked or now - last[0] > SECONDS_BETWEEN_LINES:
                    beside = f", {pace.text}" if pace.text else ""
                    print(f"{done}/{total} jobs, {what}{beside}", file=sys.stderr, flush=True)
                    last[0] = now

        yield tell
    if reasons:
        jobs = sum(reasons.values())
        complain(f"{jobs} {'job' if jobs == 1 else 'jobs'} ended in an error; --retry-errors runs them again.")
