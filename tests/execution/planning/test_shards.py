"""Tests that shards are whole groups of dependent jobs, disjoint, complete, balanced and deterministic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purebench.core.errors import PurebenchError
from purebench.execution.planning.makespan import Task
from purebench.execution.planning.shards import Shard, fewest, groups, keys_of, slowest

JOBS = st.lists(st.tuples(st.floats(0, 5), st.sets(st.integers(0, 30), max_size=2)), max_size=30)


@given(JOBS, st.integers(1, 7))
def test_every_job_is_in_one_shard_with_the_jobs_that_it_needs(jobs: list[tuple[float, set[int]]], count: int) -> None:
    tasks = [
        Task(str(place), seconds, [str(other) for other in needs if other < place])
        for place, (seconds, needs) in enumerate(jobs)
    ]
    shards = [keys_of(Shard(number, count), tasks) for number in range(1, count + 1)]
    assert sorted(key for shard in shards for key in shard) == sorted(task.key for task in tasks)
    for task in tasks:
        (own,) = [shard for shard in shards if task.key in shard]
        assert set(task.needs) <= own
    assert sorted(task.key for group in groups(tasks) for task in group) == sorted(task.key for task in tasks)


def test_shards_are_balanced_by_expected_time_and_by_number_without_one() -> None:
    tasks = [Task(str(number), seconds) for number, seconds in enumerate([8, 7, 6, 5, 4, 3, 2, 1])]
    loads = [sum(tasks[int(key)].seconds for key in keys_of(Shard(number, 3), tasks)) for number in (1, 2, 3)]
    assert sum(loads) == 36
    assert max(loads) <= 4 / 3 * 12  # Graham's bound for the longest first; the best division is 12 each
    untimed = [Task(str(number), 0.0) for number in range(9)]
    assert [len(keys_of(Shard(number, 3), untimed)) for number in (1, 2, 3)] == [3, 3, 3]


def test_the_fewest_shards_that_end_as_early_as_any() -> None:
    """Ten equal groups: 5 to 9 shards have one with two of them, and 10 have one each."""
    tasks = groups([Task(str(number), 60.0) for number in range(10)])
    assert [slowest(tasks, count) for count in (1, 4, 5, 8, 9, 10, 64)] == [600, 180, 120, 120, 120, 60, 60]
    assert [fewest(tasks, most) for most in (1, 4, 9, 16, 64)] == [1, 4, 5, 10, 10]
    joined = [Task(str(number), 60.0, [str(number - 1)] if number else []) for number in range(10)]
    assert fewest(groups(joined), 16) == 1
    assert fewest([], 16) == 1


@pytest.mark.parametrize("text", ["4/3", "0/3", "3", "a/b", "1/0", "-1/3", ""])
def test_an_invalid_shard_is_refused(text: str) -> None:
    with pytest.raises(PurebenchError, match="expected K/N with K from 1 to N, such as 2/8"):
        Shard.parse(text)


def test_a_shard_is_read() -> None:
    assert Shard.parse(" 2/8 ") == Shard(2, 8)
