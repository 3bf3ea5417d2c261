"""Divides the jobs of a board into shards: whole groups of dependent jobs, so that each shard runs on its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from purebench.core.errors import PurebenchError


class Dependent(Protocol):
    """A job with its dependencies and its expected time."""

    @property
    def key(self) -> str:
        """The key of the job."""

    @property
    def needs(self) -> Sequence[str]:
        """The keys of the jobs that must be finished before it."""

    @property
    def seconds(self) -> float:
        """Its expected time."""


@dataclass(frozen=True)
class Shard:
    """One share of the jobs.

    Attributes:
        number: which one, from 1.
        count: the number of shares.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of a text such as 2/8.

        Raises:
            PurebenchError: it is not of this form, or the first number is larger than the second.
        """
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count:
            raise PurebenchError(f"--shard: expected K/N with K from 1 to N, such as 2/8, but got {text!r}.")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"


def groups(jobs: Sequence[Dependent]) -> list[list[Dependent]]:
    """Return the jobs in groups that need no job of another group, in the order of their first jobs.

    Args:
        jobs: the jobs; needed jobs that are not among them are ignored.
    """
    leader = {job.key: job.key for job in jobs}

    def leading(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for job in jobs:
        for other in job.needs:
            if other in leader:
                leader[leading(other)] = leading(job.key)
    found: dict[str, list[Dependent]] = {}
    for job in jobs:
        found.setdefault(leading(job.key), []).append(job)
    return list(found.values())


def keys_of(shard: Shard, jobs: Sequence[Dependent]) -> set[str]:
    """Return the keys of a shard's jobs.

    The groups are given to the shards, the longest first, each to the one with the least expected time so far.

    Args:
        shard: the shard.
        jobs: all jobs, in the order of the plan.
    """
    times = [(sum(job.seconds for job in group), group) for group in groups(jobs)]
    loads = [(0.0, 0)] * shard.count
    mine: set[str] = set()
    for seconds, group in sorted(times, key=lambda one: -one[0]):  # stable: equal ones stay in the plan's order
        least = min(range(shard.count), key=lambda number: (loads[number], number))
        loads[least] = loads[least][0] + seconds, loads[least][1] + len(group)
        if least == shard.number - 1:
            mine.update(job.key for job in group)
    return mine
