"""Ends a run within a time budget, after whole blocks, so that all rows are evaluated on the same images.

A block is started only if the forecast of all jobs that remain until its end fits into the time that is left. The
forecast is the mean time of each attack on each row so far. Images are in random order, and the time, not the results,
decides where the run ends, so that intervals stay valid as for a board that has this number of images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from purebench.boards.jobs import AnyJob
from purebench.execution.planning.remaining import JobTimes, pair_of
from purebench.records.record import Record


class Budget:
    """Decides which blocks are started.

    Args:
        seconds: the time that the run may take, from now on.
        jobs: the jobs of the board.
        found: the records that need not be computed, by key.
        clock: the time in seconds.
    """

    def __init__(
        self,
        seconds: float,
        jobs: Sequence[AnyJob],
        found: Mapping[str, Record],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.clock, self.end = clock, clock() + seconds
        self.times = JobTimes(found.values())
        self.left: dict[int, dict[str, AnyJob]] = {}
        for job in jobs:
            if job.key not in found:
                self.left.setdefault(job.block, {})[job.key] = job
        self.admitted: set[int] = set()
        self.over = False

    def admits(self, job: AnyJob, workers: int) -> bool:
        """Return whether a job may be started now: one of an admitted block, or of a further block that fits.

        The first block is always admitted, because without it there is no forecast.

        Args:
            job: the job.
            workers: the number of workers.
        """
        if job.block in self.admitted:
            return True
        if self.over:
            return False
        if self.admitted:
            open_jobs = [one for block in (*self.admitted, job.block) for one in self.left[block].values()]
            expected = [self.times.of(pair_of(one)) for one in open_jobs]
            if any(seconds is None for seconds in expected):
                return False  # not known yet: it is asked again when the next job has finished
            if self.clock() + sum(seconds or 0.0 for seconds in expected) / max(1, workers) > self.end:
                self.over = True
                return False
        self.admitted.add(job.block)
        return True

    def finished(self, record: Record) -> None:
        """Take account of a job that has finished."""
        self.left[record.block].pop(record.key, None)
        self.times.add(record)
