"""Tests of the scheduler and of the pool of workers with workers in memory: losses, retries, time limits."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from purebench.boards.jobs import AnyJob
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.backends.pool import Limits, Slot, WorkerEnded, WorkerPool
from purebench.execution.backends.worker import READY, Failed, Message
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.job_record import JobInputs, JobResult, blank_record, errored_record
from purebench.execution.scheduler import MOST_ATTEMPTS, execute
from purebench.records.outcome import Outcome
from purebench.records.validation import check_record

from boards import write_board  # isort: skip

ENDS, SILENT, FAILS = "ends", "silent", "fails"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=1)"}}
    folder = tmp_path_factory.mktemp("board")
    return prepare(load_board(write_board(folder, images=4, block=2, attacks=attacks, defenses={"none": "none"})))


class InMemory(WorkerPool):
    """A pool whose workers answer at once, or misbehave as the script of a job or of a start says."""

    def __init__(
        self, context: Context, scripts: dict[str, list[str]], *, starts: Sequence[str] = (), **limits: float
    ) -> None:
        super().__init__(Limits(**limits), self.lines_append)
        self.context, self.scripts, self.starts = context, scripts, list(starts)
        self.lines: list[str] = []
        self.ran: list[str] = []
        self.stopped = 0

    def lines_append(self, line: str) -> None:
        self.lines.append(line)

    def _places(self) -> Sequence[tuple[str, str]]:
        return [(f"worker {number}", "cpu") for number in range(2)]

    def _start(self, slot: Slot) -> None:
        slot.handle, slot.awaited = "alive", self.starts.pop(0) if self.starts else READY

    def _send(self, slot: Slot, job: AnyJob, inputs: JobInputs) -> None:
        self.ran.append(job.key)
        script = self.scripts.get(job.key)
        slot.awaited = script.pop(0) if script else job

    def _with_message(self, slots: Sequence[Slot], seconds: float) -> Sequence[Slot]:
        ready = [slot for slot in slots if slot.awaited != SILENT]
        if not ready:
            time.sleep(0.01)
        return ready

    def _receive(self, slot: Slot) -> Message:
        if slot.awaited == ENDS:
            raise WorkerEnded("SIGKILL")
        if slot.awaited == FAILS:
            return Failed("MemoryError: none left")
        if isinstance(slot.awaited, str | PurebenchError):
            return slot.awaited
        blank = blank_record(slot.awaited, self.context, 2)
        return JobResult(errored_record(blank, {0: "ran", 1: "ran"}, ()))

    def _stop(self, slot: Slot) -> None:
        self.stopped += slot.handle is not None
        slot.handle = None


def results(context: Context, pool: InMemory) -> dict[str, JobResult]:
    found = list(execute(context.jobs(), context, pool))
    assert len({one.record.key for one in found}) == len(found)
    return {one.record.key: one for one in found}


@pytest.mark.parametrize("how", [ENDS, FAILS])
def test_a_job_whose_worker_ends_runs_again(context: Context, how: str) -> None:
    jobs = context.jobs()
    pool = InMemory(context, {jobs[0].key: [how, how]})
    found = results(context, pool)
    assert set(found) == {job.key for job in jobs}
    assert all(one.record.reasons == ["ran", "ran"] for one in found.values())
    assert pool.ran.count(jobs[0].key) == MOST_ATTEMPTS == 3
    assert len(pool.ran) == len(jobs) + 2
    assert [line for line in pool.lines if f"ended during {jobs[0].label} on none" in line] == pool.lines
    assert len(pool.lines) == 2
    assert pool.stopped == 2 + 2  # those that ended, and the two of the end


def test_a_job_that_ends_every_worker_is_errored_and_the_others_run(context: Context) -> None:
    jobs = context.jobs()
    attack, worst = jobs[0], next(job for job in jobs if job.label == "worst-case" and job.block == 1)
    pool = InMemory(context, {attack.key: [ENDS] * 9, worst.key: [FAILS] * 9})
    found = results(context, pool)
    assert set(found) == {job.key for job in jobs}
    for job, why in ((attack, "SIGKILL"), (worst, "MemoryError: none left")):
        record = found[job.key].record
        check_record(record)
        assert record.outcomes == [Outcome.ERRORED] * 2
        assert record.reason == f"3 workers ended while they ran this job; the last: {why}"
        assert pool.ran.count(job.key) == 3


def test_a_worker_that_does_not_answer_in_time_is_replaced(context: Context) -> None:
    jobs = context.jobs()
    pool = InMemory(context, {jobs[0].key: [SILENT]}, job=0.05)
    assert results(context, pool)[jobs[0].key].record.reason == "ran"
    assert "it did not answer within 0.1 s" in pool.lines[0]


def test_workers_that_end_while_they_start_are_retired_and_the_last_one_ends_the_run(context: Context) -> None:
    pool = InMemory(context, {}, starts=[ENDS, READY, ENDS, ENDS])
    assert len(results(context, pool)) == len(context.jobs())
    assert "ended 3 times in a row while it started (SIGKILL); the others go on without it" in pool.lines[-1]
    pool = InMemory(context, {}, starts=[ENDS] * 9)
    with pytest.raises(PurebenchError, match=r"no other worker is left.*--workers 1"):
        results(context, pool)
    assert pool.stopped == 6


def test_the_run_ends_if_no_worker_becomes_ready_in_time(context: Context) -> None:
    pool = InMemory(context, {}, starts=[SILENT, SILENT], start=0.05)
    with pytest.raises(PurebenchError, match=r"ready within 0.1 s, but none is: 2 are being started"):
        results(context, pool)
    assert pool.stopped == 2


def test_an_error_of_the_input_on_a_worker_ends_the_run(context: Context) -> None:
    class Refuses(InMemory):
        def _receive(self, slot: Slot) -> Message:
            return PurebenchError("expected other files")

    pool = Refuses(context, {})
    with pytest.raises(PurebenchError, match="expected other files"):
        results(context, pool)
    assert pool.stopped == 2


@pytest.mark.parametrize("first", [0, 1], ids=["the error comes first", "the error comes last"])
def test_an_answer_that_arrives_with_an_error_is_not_lost(context: Context, first: int) -> None:
    """The scheduler yields it, so that the run saves it, before the error ends the run."""
    jobs = context.jobs()[:2]
    refused, finished = jobs[first], jobs[1 - first]

    class RefusesOne(InMemory):
        def _receive(self, slot: Slot) -> Message:
            return PurebenchError("expected other files") if slot.job is refused else super()._receive(slot)

    saved: list[str] = []

    def save() -> None:
        for one in execute(jobs, context, RefusesOne(context, {})):
            saved.append(one.record.key)

    with pytest.raises(PurebenchError, match="expected other files"):
        save()
    assert saved == [finished.key]


def test_jobs_that_are_not_admitted_do_not_run(context: Context) -> None:
    jobs = context.jobs()
    pool = InMemory(context, {})
    found = list(execute(jobs, context, pool, admits=lambda job: job.block == 0))
    assert {one.record.block for one in found} == {0}
    assert len(found) == sum(job.block == 0 for job in jobs)
