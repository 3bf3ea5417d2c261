"""Tests that SIGTERM and Ctrl-C end a run with one line and exit code 128 + signal, and free its processes and lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from purebench.execution.backends.processes import Processes  # noqa: F401  (imported early: the deadlines should cover only the run)
from purebench.execution.interruption import ending_in_order, shielded
from purebench.records import store

from boards import write_board  # isort: skip

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")


def children(parent: int) -> set[int]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(status.parent.name))
    return found


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_a_run_cleanly(tmp_path: Path, number: signal.Signals, word: str) -> None:
    """SIGINT goes to the process group, as with Ctrl-C in a terminal; SIGTERM goes to the parent process only."""
    definition = write_board(tmp_path, attacks={"square": {"use": "square(queries=100000)"}})
    place = tmp_path / "s"
    command = [sys.executable, "-m", "purebench", "run", str(definition), "--store", str(place), "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(children(process.pid)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children(process.pid)
    assert len(workers) >= 2
    assert Path(f"{place}.pid").exists()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    last = stderr.splitlines()[-1]
    assert last == f"purebench: {word}; finished jobs are saved, and the same command continues the run."
    assert "Traceback" not in stderr
    assert not Path(f"{place}.pid").exists()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{one}") for one in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [one for one in workers if os.path.exists(f"/proc/{one}")]
    with store.writing(place) as saved:  # the lock is free
        assert saved.plans()


def test_a_signal_during_the_start_of_a_worker_waits_until_it_has_started() -> None:
    """A worker whose start is interrupted would end with a traceback of its own."""
    started = []

    def interrupted() -> None:
        with ending_in_order():
            with shielded():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)  # Python handles the signal here
                started.append("worker")
            started.append("after")

    with pytest.raises(SystemExit) as stopped:
        interrupted()
    assert started == ["worker"]
    assert stopped.value.code == 128 + signal.SIGTERM
