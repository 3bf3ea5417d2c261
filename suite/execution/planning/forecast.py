"""Forecasts the time of a board on several workers, without the jobs that a store has already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob
from purebench.core.errors import PurebenchError
from purebench.execution.planning.cost_estimate import Price
from purebench.execution.planning.makespan import Makespan, Task, simulate
from purebench.records import store


class Forecast:
    """The expected times of a board's jobs.

    Args:
        board: the board.
        jobs: its jobs, in the order of the plan.
        prices: the cost per image of each row under each attack.
        found: keys of the jobs that are finished.
    """

    def __init__(self, board: Board, jobs: Sequence[AnyJob], prices: Sequence[Price], found: Collection[str] = ()):
        self.jobs, self.found = jobs, found
        self.prices = {(price.defense, price.attack): price.seconds for price in prices}
        starts = [board.images_of(block) for block in range(board.most_blocks + 1)]
        self.images = [end - start for start, end in pairwise(starts)]

    @cached_property
    def seconds(self) -> dict[tuple[str, str, int], float]:
        """The expected seconds of each job, by defense, attack and block."""
        places = [(job.defense.name, job.label, job.block) for job in self.jobs]
        return {
            (defense, attack, block): self.prices.get((defense, attack), 0.0) * self.images[block]
            for defense, attack, block in places
        }

    @cached_property
    def left(self) -> list[Task]:
        """The jobs that remain."""
        return [
            Task(job.key, self.seconds[job.defense.name, job.label, job.block], job.needs)
            for job in self.jobs
            if job.key not in self.found
        ]

    @property
    def done(self) -> int:
        """The number of jobs that are finished."""
        return len(self.jobs) - len(self.left)

    def on(self, workers: int) -> Makespan:
        """Return the expected course of the remaining jobs.

        Args:
            workers: the number of workers.
        """
        return simulate(self.left, workers)


def found_in(path: Path, jobs: Sequence[AnyJob]) -> set[str]:
    """Return the keys of the jobs that a store has; none if there is no store, or it cannot be read."""
    try:
        with store.reading(path) as saved:
            return {job.key for job in jobs if saved.has(job.key)}
    except PurebenchError:
        return set()
