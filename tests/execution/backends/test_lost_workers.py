"""Tests that killed workers, and a killed driver, lose or double no record, and that results stay the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.backends.compute import Compute
from purebench.execution.backends.pool import Slot
from purebench.execution.backends.processes import Processes
from purebench.execution.board_run import run_board
from purebench.records import store
from purebench.records.record import Record
from purebench.results.files.export import export_results
from purebench.results.merge import merge

from boards import write_board  # isort: skip

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")

ATTACKS = {"clean": {"use": "clean"}, "square": {"use": "square(queries=30)"}}


def exported(board: Board, records: list[Record], folder: Path) -> dict[str, bytes]:
    export_results(folder, merge(board, records))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json")) if path.name != "timings.json"}


def spawned(parent: int) -> list[int]:
    """Returns the worker processes of a process, without multiprocessing's resource tracker."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            line = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in line:
            found.append(int(status.parent.name))
    return found


def board_of(folder: Path, **parts: object) -> Board:
    rows = {"none": "none", "coin": f"{folder}/defenses.py:coin"}
    return load_board(write_board(folder, images=6, block=2, **{"attacks": ATTACKS, "defenses": rows, **parts}))


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    _, expected = run_board(board, tmp_path / "serial", workers=1)
    ran: list[str] = []
    told: list[str] = []

    def kill_one(done: int, total: int, record: Record | None) -> None:
        if record is not None:
            ran.append(record.key)
        if len(ran) == 3:
            os.kill(spawned(os.getpid())[0], signal.SIGKILL)

    _, records = run_board(board, tmp_path / "s", compute=Compute(workers=2), progress=kill_one, tell=told.append)
    assert len(ran) == len(set(ran)) == len(expected)
    assert exported(board, records, tmp_path / "a") == exported(board, expected, tmp_path / "b")
    assert len(told) == 1
    assert "SIGKILL, perhaps for lack of memory); another one is started" in told[0]


def test_a_job_that_kills_its_workers_is_errored_and_the_other_rows_are_evaluated(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import multiprocessing, os\nfrom purebench.core.defense import Function\n\n\n"
        "def deadly():\n"
        "    def answer(x):\n"
        "        if len(x) > 1 and multiprocessing.parent_process() is not None:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return x\n\n"
        "    return Function(answer, random=False)\n",
        encoding="utf-8",
    )
    rows = {"none": "none", "deadly": f"{tmp_path}/deadly.py:deadly"}
    board = load_board(write_board(tmp_path, images=2, block=2, attacks={"clean": {"use": "clean"}}, defenses=rows))
    _, records = run_board(board, tmp_path / "s", compute=Compute(workers=2))
    by = {(record.defense, record.attack): record for record in records}
    assert not by["none", "clean"].errored
    assert by["deadly", "clean"].reason.startswith("3 workers ended while they ran this job; the last: SIGKILL")


def test_a_worker_with_other_files_than_the_driver_is_refused(tmp_path: Path) -> None:
    """A file that changes after the jobs were planned must not give a result under the old key."""
    own = (
        "from purebench.core.defense import Function\n\n\ndef own():\n    return Function(lambda x: {}, random=False)\n"
    )
    (tmp_path / "own.py").write_text(own.format("x"), encoding="utf-8")
    rows = {"own": f"{tmp_path}/own.py:own"}
    board = load_board(write_board(tmp_path, images=2, block=2, attacks={"clean": {"use": "clean"}}, defenses=rows))

    def change(done: int, total: int, record: Record | None) -> None:
        (tmp_path / "own.py").write_text(own.format("1 - x"), encoding="utf-8")

    compute = Compute(workers=1, backend="processes")
    with pytest.raises(PurebenchError, match=r"clean on own .* because the code differs \(defense\)"):
        run_board(board, tmp_path / "s", compute=compute, progress=change)
    with store.reading(tmp_path / "s") as saved:
        assert not saved.record_keys()


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_workers_and_driver_killed_at_random_times(tmp_path: Path, kills: int) -> None:
    board, path = board_of(tmp_path), tmp_path / "s"
    _, expected = run_board(board, tmp_path / "serial", workers=1)
    seed = int(time.time())
    print("seed", seed)
    moments = random.Random(seed)
    command = [sys.executable, "-m", "purebench", "run", f"{tmp_path}/board.yaml", "--store", str(path)]
    for _ in range(kills):
        process = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended = threading.Event()

        def shoot(pid: int = process.pid, ended: threading.Event = ended) -> None:
            while not ended.wait(moments.uniform(2, 8)):
                for worker in moments.sample(workers := spawned(pid), k=min(1, len(workers))):
                    os.kill(worker, signal.SIGKILL)

        shooter = threading.Thread(target=shoot, daemon=True)
        shooter.start()
        try:
            process.wait(moments.uniform(5, 15))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        ended.set()
        shooter.join()
    _, records = run_board(board, path, workers=1, wait=60, retry_errors=True)
    assert exported(board, records, tmp_path / "a") == exported(board, expected, tmp_path / "b")
    with store.reading(path) as saved:
        assert sorted(saved.record_keys()) == sorted(record.key for record in expected)


def test_idle_workers_end_by_themselves_so_that_libraries_release_their_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board(write_board(tmp_path, images=2, block=1, attacks={"clean": {"use": "clean"}}))
    ended: list[SpawnProcess] = []
    start = Processes._start

    def started(self: Processes, slot: Slot) -> None:
        start(self, slot)
        ended.append(slot.handle[0])

    monkeypatch.setattr(Processes, "_start", started)
    run_board(board, tmp_path / "s", compute=Compute(workers=1, backend="processes"))
    assert [process.exitcode for process in ended] == [0]
