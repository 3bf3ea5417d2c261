"""Tests the throughput, remaining time and cost that the progress shows."""

from __future__ import annotations

from purebench.execution.progress.terminal import Pace

from synthetic import make_board, make_record  # isort: skip


def test_the_pace_is_that_of_the_jobs_of_this_run() -> None:
    """Of 10 jobs, 4 were in the store; 3 more take 30 s of time, and 2 workers compute 20 s for each."""
    now = [100.0]
    pace = Pace(lambda: now[0])
    pace.note(4, 10, None)
    assert pace.text == ""
    record = make_record(make_board(), "plain", "clean", 0, ["1", "1"], seconds={"attack": 15.0, "verify": 5.0})
    for done in (5, 6, 7):
        now[0] += 10
        pace.note(done, 10, record)
    assert pace.text == "6 jobs/min, 30.0 s left, 60.0 s of computation"
    now[0] += 30
    pace.note(10, 10, record)
    assert pace.text == "6 jobs/min, 80.0 s of computation"
