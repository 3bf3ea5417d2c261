"""Estimates the time that the remaining jobs of a run take, from the jobs that have finished.

A job takes the mean time of the jobs of its defense and attack. Before one of them has finished, it takes the time of
the attack on the most similar other row, scaled by the ratio of the two rows' times for a pass. These are known early,
because the clean jobs of a block run first (`clean_first`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from purebench.boards.jobs import AnyJob
from purebench.records.record import Record
from purebench.results.attack_result import CLEAN

Pair = tuple[str, str]
"""A defense and an attack, or the worst case."""


def pair_of(job: AnyJob) -> Pair:
    """Return the defense and the attack of a job."""
    return job.defense.name, job.label


def clean_first(jobs: Sequence[AnyJob]) -> list[AnyJob]:
    """Return jobs block by block, the clean ones of each block first, so that a defense that cannot run is told early.

    Args:
        jobs: Jobs in the order of a plan, blocks outermost.
    """
    return sorted(jobs, key=lambda job: (job.block, job.label != CLEAN))


class JobTimes:
    """The mean time of the jobs of each defense and attack so far.

    Args:
        records: The records of finished jobs.
    """

    def __init__(self, records: Iterable[Record] = ()):
        self.sums: dict[Pair, tuple[float, int]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Count one more finished job."""
        seconds, count = self.sums.get((record.defense, record.attack), (0.0, 0))
        self.sums[record.defense, record.attack] = seconds + record.wall_time, count + 1

    def of(self, pair: Pair) -> float | None:
        """Return the expected seconds of a job; None before one of its defense and attack has finished."""
        seconds, count = self.sums.get(pair, (0.0, 0))
        return seconds / count if count else None

    @property
    def mean(self) -> float | None:
        """The mean seconds of all finished jobs; None before the first."""
        count = sum(count for _, count in self.sums.values())
        return sum(seconds for seconds, _ in self.sums.values()) / count if count else None


@dataclass(frozen=True)
class _Pace:
    seconds: float
    """Seconds of one pass of an image through the defense."""
    random: bool


class RemainingTime:
    """The time until the end of a run.

    Args:
        jobs: The jobs that are left.
        found: The records of the jobs that need not run.
        workers: The number of workers.
    """

    def __init__(self, jobs: Iterable[AnyJob], found: Iterable[Record] = (), workers: int = 1):
        self.left, self.workers = Counter(pair_of(job) for job in jobs), max(1, workers)
        self.times = JobTimes()
        self.rows: dict[str, _Pace] = {}
        for record in found:
            self._learn(record)

    def finished(self, record: Record) -> None:
        """Take account of a job that has finished."""
        self.left[record.defense, record.attack] -= 1
        self._learn(record)

    def seconds(self) -> float | None:
        """Return the seconds until the end if all workers are busy; None before the first job has finished."""
        if (mean := self.times.mean) is None:
            return None
        work = 0.0
        for pair, count in self.left.items():
            if count > 0:
                expected = self._expected(pair)
                work += count * (mean if expected is None else expected)
        return work / self.workers

    def _learn(self, record: Record) -> None:
        self.times.add(record)
        passes = sum(map(len, record.draws))
        if record.attack == CLEAN and passes and record.wall_time > 0:
            self.rows[record.defense] = _Pace(record.wall_time / passes, max(map(len, record.draws)) > 1)

    def _expected(self, pair: Pair) -> float | None:
        if (known := self.times.of(pair)) is not None:
            return known
        defense, attack = pair
        if (row := self.rows.get(defense)) is None:
            return None
        timed = {name: time for name in self.rows if (time := self.times.of((name, attack))) is not None}
        if not timed:
            return None

        def unlike(name: str) -> tuple[bool, float]:
            return self.rows[name].random != row.random, abs(log(self.rows[name].seconds / row.seconds))

        nearest = min(timed, key=unlike)
        return timed[nearest] * row.seconds / self.rows[nearest].seconds
