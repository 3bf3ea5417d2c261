"""Tests of the isolation of faulty images: a fault is traced to its images in a bounded number of runs."""

from __future__ import annotations

import pytest

from purebench.core.answers import DefenseFault, WholeFault
from purebench.core.errors import Inapplicable
from purebench.execution.jobs.blame import isolate


class Work:
    """Fails if one of the bad rows is included; records the rows of each run."""

    def __init__(self, *bad: int, kind: type[Exception] = DefenseFault):
        self.bad, self.kind, self.runs = set(bad), kind, list[list[int]]()

    def __call__(self, rows: list[int]) -> list[int]:
        self.runs.append(rows)
        if found := self.bad & set(rows):
            raise self.kind(f"{len(rows)} images, one of them NaN" if len(found) else "")
        return rows


@pytest.mark.parametrize("bad", [(), (0,), (7,), (23,), (0, 12, 22), (3, 4, 5, 6), (0, 23)])
def test_isolate_finds_failing_images_and_keeps_results_of_the_others(bad: tuple[int, ...]) -> None:
    work = Work(*bad)
    found = isolate(work, range(24))
    assert set(found.faults) == set(bad)
    assert found.rows == found.found == [row for row in range(24) if row not in bad]


def test_isolate_cost_is_bounded_if_every_image_fails() -> None:
    work = Work(*range(24))
    found = isolate(work, range(24))
    assert found.found is None
    assert set(found.faults) == set(range(24))
    assert sum(len(rows) for rows in work.runs) <= 24 + 3


def test_isolate_needs_a_bounded_number_of_runs_for_many_faults() -> None:
    work = Work(*range(0, 128, 3))
    found = isolate(work, range(128))
    assert set(range(0, 128, 3)) <= set(found.faults)
    assert len(work.runs) < 100


def test_isolate_uses_the_cheap_function_to_avoid_runs_of_the_work() -> None:
    work, cheap = Work(5), Work(5)
    found = isolate(work, range(24), cheap=cheap)
    assert set(found.faults) == {5}
    assert work.runs == [list(range(24)), found.rows]
    blind = Work()
    assert set(isolate(Work(5), range(24), cheap=blind).faults) == {5}
    assert len(blind.runs) == 1


def test_a_fault_without_a_single_cause_is_assigned_to_all_images() -> None:
    work = Work(1, kind=WholeFault)
    assert set(isolate(work, range(4)).faults) == {0, 1, 2, 3}
    assert len(work.runs) == 1

    def together(rows: list[int]) -> None:
        if len(rows) == 4:
            raise DefenseFault("only together")

    assert set(isolate(together, range(4)).faults) == {0, 1, 2, 3}
    with pytest.raises(Inapplicable):
        isolate(Work(1, kind=Inapplicable), range(4))
