"""The throughput, remaining time and cost of a run, as a text for its progress."""

from __future__ import annotations

from collections.abc import Callable

from purebench.core.files.text import duration
from purebench.execution.planning.remaining import RemainingTime
from purebench.records.record import Record


class Pace:
    """The throughput, remaining time and cost of a run.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.began, self.first, self.seconds = clock(), 0, 0.0
        self.remaining: RemainingTime | None = None
        self.text = ""

    def note(self, done: int, total: int, record: Record | None) -> None:
        """Take account of a job that has finished, or of the start of a run.

        Args:
            done: the number of finished jobs.
            total: the number of all jobs.
            record: the record of the job; None at the start.
        """
        if record is None:
            self.began, self.first, self.text, self.remaining = self.clock(), done, "", None
            return
        self.seconds += record.wall_time
        if self.remaining is not None:
            self.remaining.finished(record)
        elapsed, finished = self.clock() - self.began, done - self.first
        if elapsed <= 0 or finished <= 0:
            return
        rest = self._rest() if done < total else ""
        self.text = f"{60 * finished / elapsed:.3g} jobs/min, {rest}{duration(self.seconds)} of computation"

    def _rest(self) -> str:
        """Return the remaining time, or a lower bound of it; "" where nothing is known."""
        left, whole = (0.0, False) if self.remaining is None else self.remaining.seconds()
        return f"{'about' if whole else 'more than'} {duration(left)} left, " if whole or left >= 1 else ""
