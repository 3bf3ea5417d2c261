"""Tests that results do not depend on the number of workers, the order of jobs, interruptions or kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.records import store
from purebench.records.outcome import Outcome
from purebench.records.record import Record
from purebench.results.files.export import export_results
from purebench.results.merge import merge

from boards import write_board  # isort: skip


def exported(board: Board, records: list[Record], folder: Path) -> dict[str, bytes]:
    """Returns the result files by name, without the timings."""
    export_results(folder, merge(board, records))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json")) if path.name != "timings.json"}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return load_board(write_board(tmp_path_factory.mktemp("board")))


@pytest.fixture(scope="module")
def expected(board: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    _, records = run_board(board, folder / "s", workers=1)
    assert not [record.reason for record in records if Outcome.ERRORED in record.outcomes]
    return exported(board, records, folder / "results")


def test_results_do_not_depend_on_workers_and_job_order(
    board: Board, expected: dict[str, bytes], tmp_path: Path
) -> None:
    _, records = run_board(board, tmp_path / "s", workers=2, order=lambda jobs: list(reversed(jobs)))
    assert exported(board, records, tmp_path / "results") == expected


def test_results_of_a_row_do_not_depend_on_other_rows(board: Board, expected: dict[str, bytes], tmp_path: Path) -> None:
    alone = replace(board, defenses=tuple(row for row in board.defenses if row.name == "coin"))
    _, records = run_board(alone, tmp_path / "s", workers=1)
    assert exported(alone, records, tmp_path / "results")["coin.json"] == expected["coin.json"]


def test_adding_images_runs_only_the_new_blocks(board: Board, tmp_path: Path) -> None:
    small = replace(board, dataset=replace(board.dataset, images=8), defenses=board.defenses[:1])
    ran: list[int] = []

    def count(done: int, total: int, record: Record | None) -> None:
        if record:
            ran.append(record.block)

    run_board(small, tmp_path / "s", workers=1, progress=count)
    run_board(replace(board, defenses=board.defenses[:1]), tmp_path / "s", workers=1, progress=count)
    assert sorted(ran) == sorted([0, 1, 2] * (len(board.attacks) + 1))


def test_an_interrupted_run_resumes_without_repeating_jobs(
    board: Board, expected: dict[str, bytes], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    ran: list[str] = []

    def stop_after_four(done: int, total: int, record: Record | None) -> None:
        if record:
            ran.append(record.key)
        if len(ran) == 4:
            raise Stop

    with pytest.raises(Stop):
        run_board(board, tmp_path / "s", workers=1, progress=stop_after_four)
    again: list[str] = []
    _, records = run_board(
        board, tmp_path / "s", workers=1, progress=lambda done, total, record: record and again.append(record.key)
    )
    assert len(ran) == 4
    assert not set(ran) & set(again)
    assert exported(board, records, tmp_path / "results") == expected


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_results_are_identical_after_kills_at_random_times(
    board: Board, expected: dict[str, bytes], tmp_path: Path, kills: int
) -> None:
    """SIGKILL goes to the parent process only: its workers end without a signal, and the store stays intact."""
    path, seed = tmp_path / "s", int(time.time())
    print("seed", seed)
    moments = random.Random(seed)
    definition = tmp_path / "board.yaml"
    import yaml

    definition.write_text(yaml.safe_dump(board.to_dict(), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "purebench", "run", str(definition), "--store", str(path), "--workers", "2"]
    for _ in range(kills):
        began = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not path.exists() and process.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, records = run_board(board, path, workers=1, wait=60)
    assert exported(board, records, tmp_path / "results") == expected


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    definition = write_board(tmp_path, attacks={"square": {"use": "square(queries=100000)"}})
    command = [
        sys.executable,
        "-m",
        "purebench",
        "run",
        str(definition),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def children() -> list[int]:
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == process.pid and fields[0] != "Z":
                found.append(int(status.parent.name))
        return found

    if not Path("/proc").exists():
        pytest.skip("needs /proc")
    deadline = time.monotonic() + 60
    while len(children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = children()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_errored_jobs_are_repeated_only_with_retry_errors(tmp_path: Path) -> None:
    definition = write_board(tmp_path, images=4, defenses={"bad": f"{tmp_path}/defenses.py:crash"})
    small = load_board(definition)
    run_board(small, tmp_path / "s", workers=1)
    for asked, expected_runs in ((False, 0), (True, 4)):
        runs: list[Record] = []
        run_board(
            small,
            tmp_path / "s",
            workers=1,
            retry_errors=asked,
            progress=lambda done, total, record, runs=runs: record and runs.append(record),
        )
        assert len(runs) == expected_runs


def test_invalid_boards_write_no_files(tmp_path: Path) -> None:
    definition = write_board(tmp_path, defenses={"x": "gaussian-nois"})
    with pytest.raises(PurebenchError, match="gaussian-noise"):
        run_board(load_board(definition), tmp_path / "new" / "s", workers=1)
    assert not (tmp_path / "new").exists()


def test_the_store_contains_the_board_its_records_and_images(board: Board, tmp_path: Path) -> None:
    small = replace(board, dataset=replace(board.dataset, images=4), defenses=board.defenses[:1])
    context, records = run_board(small, tmp_path / "s", workers=1)
    with store.reading(tmp_path / "s") as saved:
        definition, keys = saved.plans()[board.name]
        assert [saved.get(key) for key in keys] == records
        assert definition == small.to_dict()
        images = saved.adversarial(records[1].key)
    assert images is not None
    clean = context.images.floats()
    assert abs(images - clean).max() <= 8 / 255 + 1e-6
