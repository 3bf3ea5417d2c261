"""Tests the simulated time of several workers against closed forms and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.execution.planning.makespan import Task, simulate


def test_equal_jobs_take_their_number_divided_by_the_workers() -> None:
    tasks = [Task(str(number), 2.0) for number in range(12)]
    for workers, seconds in ((1, 24.0), (2, 12.0), (5, 6.0), (12, 2.0), (64, 2.0)):
        run = simulate(tasks, workers)
        assert run.seconds == pytest.approx(seconds)
        assert run.speedup == pytest.approx(24 / seconds)
    assert simulate(tasks, 2).limit == "the number of workers"
    assert simulate(tasks, 64).limit == "the longest chain of jobs"


def test_a_chain_is_not_faster_on_more_workers() -> None:
    tasks = [Task("a", 1.0), Task("b", 2.0, ["a"]), Task("c", 3.0, ["b", "elsewhere"])]
    run = simulate(tasks, 8, startup=4.0)
    assert (run.seconds, run.longest, run.limit) == (10.0, 10.0, "the longest chain of jobs")


def test_saving_limits_many_workers() -> None:
    """The process that sends and saves needs 0.5 s a job, one after another, however many workers there are."""
    tasks = [Task(str(number), 1.0) for number in range(100)]
    run = simulate(tasks, 64, saving=0.5)
    assert run.seconds >= run.saving == 50.0
    assert run.limit == "sending and saving the jobs"
    assert simulate(tasks, 1, saving=0.5).seconds == pytest.approx(150.0)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0.1, 5), st.sets(st.integers(0, 20))), min_size=1, max_size=20), st.integers(1, 6))
def test_the_time_is_between_its_bounds(jobs: list[tuple[float, set[int]]], workers: int) -> None:
    """Graham's bound: at most work / workers + longest chain, and never less than either."""
    tasks = [
        Task(str(place), seconds, [str(other) for other in needs if other < place])
        for place, (seconds, needs) in enumerate(jobs)
    ]
    run = simulate(tasks, workers)
    assert run.seconds >= max(run.work / workers, run.longest) - 1e-9
    assert run.seconds <= run.work / workers + run.longest + 1e-9
    assert simulate(tasks, 1).seconds == pytest.approx(run.work)
