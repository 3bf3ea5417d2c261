"""Tests that a time budget ends a run after whole blocks, by a forecast from the times so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from purebench.boards.jobs import AnyJob
from purebench.boards.parse import load_board
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.planning.budget import Budget
from purebench.records.record import Record

from boards import write_board  # isort: skip
from synthetic import NamedJob, make_board, make_record  # isort: skip


def board_of(blocks: int) -> tuple[list[NamedJob], dict[str, Record]]:
    board = make_board(images=2 * blocks, block=2)
    jobs = [
        NamedJob("plain", attack, block, f"small/plain/{attack}/{block}") for block in range(blocks) for attack in "ab"
    ]
    times = {"a": 1.0, "b": 3.0}
    records = {
        job.key: make_record(board, "plain", job.label, job.block, ["1", "1"], seconds={"attack": times[job.label]})
        for job in jobs
    }
    return jobs, records


def spent(seconds: float, workers: int, jobs: Sequence[NamedJob], records: dict[str, Record], known: int = 0) -> int:
    """Runs the jobs one after another on a clock of its own; returns the number of blocks that were run whole."""
    now = [0.0]
    found = {job.key: records[job.key] for job in jobs[:known]}
    budget = Budget(seconds, jobs, found, clock=lambda: now[0])  # type: ignore[arg-type]
    blocks = []
    for job in jobs[known:]:
        if not budget.admits(job, workers):  # type: ignore[arg-type]
            break
        now[0] += records[job.key].wall_time / workers
        budget.finished(records[job.key])
        blocks.append(job.block)
    assert all(blocks.count(block) == 2 for block in blocks[known % 2 :])
    return len(set(blocks))


@pytest.mark.parametrize(
    ("seconds", "workers", "blocks"),
    [(16.0, 1, 4), (15.9, 1, 3), (8.0, 2, 4), (7.9, 2, 3), (0.1, 1, 1), (1e9, 1, 6)],
)
def test_as_many_whole_blocks_are_run_as_fit(seconds: float, workers: int, blocks: int) -> None:
    """A block takes 1 s + 3 s; the first one always runs."""
    assert spent(seconds, workers, *board_of(6)) == blocks


def test_times_of_the_store_are_used_from_the_start() -> None:
    jobs, records = board_of(6)
    assert spent(8.0, 1, jobs, records, known=2) == 2
    assert spent(6.9, 1, jobs, records, known=3) == 1  # 3 s remain of the second block, and 4 s of the next


def test_a_block_waits_until_every_attack_of_every_row_has_been_timed() -> None:
    jobs, records = board_of(3)
    budget = Budget(1e9, jobs, {}, clock=lambda: 0.0)  # type: ignore[arg-type]
    admitted: list[bool] = []
    for job in (jobs[0], jobs[1], jobs[2]):
        admitted.append(budget.admits(job, 8))  # type: ignore[arg-type]
    budget.finished(records[jobs[0].key])
    admitted.append(budget.admits(jobs[2], 8))  # type: ignore[arg-type]
    budget.finished(records[jobs[1].key])
    admitted.append(budget.admits(jobs[2], 8))  # type: ignore[arg-type]
    assert admitted == [True, True, False, False, True]
    assert not budget.over


def test_a_run_within_a_budget_has_whole_blocks_and_can_be_continued(tmp_path: Path) -> None:
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=1)"}}
    path = write_board(tmp_path, images=6, block=2, attacks=attacks, defenses={"none": "none", "blur": "gaussian-blur"})
    board, told, ran = load_board(path), list[str](), list[str]()

    def backwards(jobs: Sequence[AnyJob]) -> list[AnyJob]:
        return sorted(jobs, key=lambda job: job.block)

    def note(done: int, total: int, record: Record | None) -> None:
        if record is not None:
            ran.append(record.key)

    _, records = run_board(
        board, tmp_path / "s", compute=Compute(workers=1), budget=1e-6, tell=told.append, order=backwards, progress=note
    )
    assert {record.block for record in records} == {0}
    assert len(records) == len(ran) == 6
    assert told == [
        "stopped after 1 of 3 blocks (2 of 6 images), because the next block is not expected to end within the budget "
        "of 0.0 s; the same command continues the run"
    ]
    _, more = run_board(board, tmp_path / "s", compute=Compute(workers=1), budget=1e-6)
    assert {record.block for record in more} == {0, 1}
    _, every = run_board(board, tmp_path / "s", workers=1, budget=1e6)
    assert len(every) == len(prepare(board).jobs()) == 18
    assert [replace(record) for record in every[:12]] == more
