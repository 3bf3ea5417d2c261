"""Divides the jobs of a board into shards: whole groups of dependent jobs, so that each shard runs on its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
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


Group = Sequence[Dependent]
"""Jobs that need no job of another group."""


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

    Args:
        shard: the shard.
        jobs: all jobs, in the order of the plan.
    """
    return {job.key for group in divided(groups(jobs), shard.count)[shard.number - 1] for job in group}


def divided(found: Sequence[Group], count: int) -> list[list[Group]]:
    """Return the groups of jobs of each shard.

    They are given to the shards, the longest first, each to the one with the least expected time so far.

    Args:
        found: the groups, in the order of the plan.
        count: the number of shards.
    """
    loads = [(0.0, 0, number) for number in range(count)]
    shares: list[list[Group]] = [[] for _ in range(count)]
    for group in sorted(found, key=lambda one: -_seconds(one)):  # stable: equal ones stay in the plan's order
        seconds, jobs, least = heappop(loads)
        heappush(loads, (seconds + _seconds(group), jobs + len(group), least))
        shares[least].append(group)
    return shares


def slowest(found: Sequence[Group], count: int) -> float:
    """Return the expected seconds of the slowest of so many shards.

    Args:
        found: the groups, in the order of the plan.
        count: the number of shards.
    """
    return max(sum(map(_seconds, share)) for share in divided(found, count))


def fewest(found: Sequence[Group], most: int) -> int:
    """Return the fewest shards that end as early as any number up to the smaller of `most` and that of the groups.

    Args:
        found: the groups, in the order of the plan.
        most: the largest number of shards.
    """
    counts = range(1, max(1, min(most, len(found))) + 1)
    return min(counts, key=lambda count: (round(slowest(found, count), 3), count))


def _seconds(group: Group) -> float:
    return sum(job.seconds for job in group)
