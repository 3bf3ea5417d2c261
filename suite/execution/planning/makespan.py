"""Simulates a run on several workers from the times of its jobs: how long it takes, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush


@dataclass(frozen=True)
class Task:
    """A job with its time.

    Attributes:
        key: its key.
        seconds: the time that a worker needs.
        needs: the keys of the jobs that must be finished before it.
    """

    key: str
    seconds: float
    needs: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Makespan:
    """The simulated run.

    Attributes:
        seconds: the time from its start to its end.
        work: the sum of the times of all jobs.
        workers: the number of workers.
        longest: the longest chain of jobs of which each needs the one before it; no number of workers is faster.
        saving: the time that one process needs to send and save all jobs; no number of workers is faster.
    """

    seconds: float
    work: float
    workers: int
    longest: float
    saving: float

    @property
    def speedup(self) -> float:
        """How often faster than the jobs one after another."""
        return self.work / self.seconds if self.seconds else 1.0

    @property
    def limit(self) -> str:
        """What limits the run: the number of workers, one chain of jobs, or the process that saves the records."""
        bounds = {
            "the number of workers": self.work / self.workers,
            "the longest chain of jobs": self.longest,
            "sending and saving the jobs": self.saving,
        }
        return max(bounds, key=lambda name: bounds[name])


def simulate(tasks: Sequence[Task], workers: int, *, startup: float = 0.0, saving: float = 0.0) -> Makespan:
    """Simulate the scheduler: a free worker gets the first job, in the plan's order, whose needed jobs are saved.

    Args:
        tasks: the jobs, in the order of the plan; needed jobs that are not among them count as finished.
        workers: the number of workers.
        startup: seconds until the workers are ready.
        saving: seconds in which the one process that sends jobs and saves records handles a job.
    """
    known = {task.key: place for place, task in enumerate(tasks)}
    waits = [{known[key] for key in task.needs if key in known} for task in tasks]
    users: dict[int, list[int]] = {}
    for place, needed in enumerate(waits):
        for other in needed:
            users.setdefault(other, []).append(place)
    ready = [place for place, needed in enumerate(waits) if not needed]  # in order, and so a heap
    running: list[tuple[float, int]] = []
    chains, now, driver, idle = [0.0] * len(tasks), startup, startup, workers
    while ready or running:
        while ready and idle:
            place = heappop(ready)
            heappush(running, (max(now, driver) + tasks[place].seconds, place))
            idle -= 1
        now, place = heappop(running)
        driver = max(driver, now) + saving
        idle += 1
        chains[place] += tasks[place].seconds
        for user in users.get(place, ()):
            chains[user] = max(chains[user], chains[place])
            waits[user].discard(place)
            if not waits[user]:
                heappush(ready, user)
    work, end = sum(task.seconds for task in tasks), max(now, driver)
    return Makespan(end, work, workers, startup + max(chains, default=0.0), startup + saving * len(tasks))
