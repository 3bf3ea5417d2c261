"""Estimates the time that the remaining jobs of a run take, from the jobs that have finished.

A job takes the mean time of the jobs of its defense and attack. Before one of them has finished, it takes the time of
the attack on another row of the same kind, random or deterministic, that has the most similar time for a pass, scaled
by the ratio of these times. They are known early, because the clean jobs of a block run first (`clean_first`). Where no
such row has finished the attack, nothing is assumed, and the sum is a lower bound.
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

    def seconds(self) -> tuple[float, bool]:
        """Return the seconds until the end if all workers are busy, and whether they are of all jobs that are left."""
        left = {pair: count for pair, count in self.left.items() if count > 0}
        known = {pair: time for pair in left if (time := self._expected(pair)) is not None}
        return sum(left[pair] * time for pair, time in known.items()) / self.workers, known.keys() == left.keys()

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
        timed = {
            name: time
            for name, other in self.rows.items()
            if other.random == row.random and (time := self.times.of((name, attack))) is not None
        }
        if not timed:
            return None
        nearest = min(timed, key=lambda name: abs(log(self.rows[name].seconds / row.seconds)))
        return timed[nearest] * row.seconds / self.rows[nearest].seconds
