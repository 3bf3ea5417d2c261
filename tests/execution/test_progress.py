"""Tests the throughput, remaining time and cost that the progress shows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from purebench.boards.parse import load_board
from purebench.execution.board_run import run_board
from purebench.execution.planning.remaining import RemainingTime
from purebench.execution.progress.notebook import NotebookProgress
from purebench.execution.progress.pace import Pace
from purebench.execution.progress.terminal import TerminalProgress, run_progress

from boards import write_board  # isort: skip
from synthetic import NamedJob, make_board, make_record  # isort: skip


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
    assert pace.text == "6 jobs/min, 60.0 s of computation"  # nothing is known of the jobs that are left
    pace.remaining = RemainingTime([NamedJob("plain", "clean")] * 4, [record], workers=2)
    now[0] += 10
    pace.note(8, 10, record)
    assert pace.text == "6 jobs/min, about 30.0 s left, 80.0 s of computation"  # 3 jobs of 20 s, 2 workers
    pace.remaining = RemainingTime([NamedJob("plain", "clean")] * 4 + [NamedJob("plain", "new")], [record], workers=2)
    pace.note(8, 10, record)
    assert "more than 30.0 s left" in pace.text
    now[0] += 20
    pace.note(10, 10, record)
    assert pace.text == "6 jobs/min, 2.0 min of computation"
    pace.note(0, 10, None)
    assert pace.remaining is None  # of the run before


def test_a_run_tells_its_remaining_time(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("purebench.execution.progress.terminal.SECONDS_BETWEEN_LINES", 0.0)
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=5)"}}
    board = load_board(write_board(tmp_path, images=4, block=2, attacks=attacks))
    with run_progress() as tell:
        assert isinstance(tell, TerminalProgress)
        run_board(board, tmp_path / "s", workers=1, progress=tell)
    lines = capsys.readouterr().err.splitlines()
    (first, *middle, last) = [line for line in lines if "jobs/min" in line]
    assert " left" not in first + last
    assert "about " in middle[-1]
    assert " left, " in middle[-1]


def test_a_notebook_shows_the_remaining_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purebench.execution.progress.notebook.SECONDS_BETWEEN", 0.0)
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=5)"}}
    board = load_board(write_board(tmp_path, images=4, block=2, attacks=attacks))
    shown: list[str] = []
    run_board(board, tmp_path / "s", workers=1, progress=NotebookProgress(shown.append, time.monotonic))
    assert " of " in shown[0]
    assert "starting" in shown[0]
    assert " left, " in shown[-2]
    assert " left" not in shown[-1]
    assert "jobs/min, " in shown[-1]
