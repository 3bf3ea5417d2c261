"""Tests that a run on a Ray cluster gives the bytes of a serial run, also if one of its nodes is removed midway."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.backends import ray as backend
from purebench.execution.backends.compute import Compute
from purebench.execution.backends.pool import Limits
from purebench.execution.board_run import run_board
from purebench.records import store
from purebench.records.record import Record
from purebench.results.files.export import export_results
from purebench.results.merge import merge

from boards import write_board  # isort: skip

ray = pytest.importorskip("ray")
LIMITS = Limits(job=600, start=600)


def exported(board: Board, records: list[Record], folder: Path) -> dict[str, bytes]:
    export_results(folder, merge(board, records))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json")) if path.name != "timings.json"}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=30)"}}
    rows = {"none": "none", "coin": f"{tmp_path}/defenses.py:coin"}
    return load_board(write_board(tmp_path, images=12, block=2, attacks=attacks, defenses=rows))


@pytest.fixture
def cluster() -> Any:
    """A head without cores, and two nodes with one core each."""
    from ray.cluster_utils import Cluster

    backend.import_ray()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.second = made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_midway_gives_the_bytes_of_a_serial_run(
    board: Board, cluster: Any, tmp_path: Path
) -> None:
    _, expected = run_board(board, tmp_path / "serial", workers=1)
    ran: list[str] = []
    told: list[str] = []

    def remove_node(done: int, total: int, record: Record | None) -> None:
        if record is not None:
            ran.append(record.key)
        if len(ran) == 6:
            cluster.remove_node(cluster.second, allow_graceful=False)

    compute = Compute("cpu", backend="ray", address=cluster.address, limits=LIMITS)
    _, records = run_board(board, tmp_path / "s", compute=compute, progress=remove_node, tell=told.append)
    assert len(ran) == len(set(ran)) == len(expected) == 36
    assert exported(board, records, tmp_path / "a") == exported(board, expected, tmp_path / "b")
    assert not any(record.errored for record in records)
    assert any("actor" in line and "another one is started" in line for line in told), told
    with store.reading(tmp_path / "s") as saved:
        assert sorted(saved.record_keys()) == sorted(record.key for record in expected)


@pytest.mark.slow
def test_a_cluster_without_room_ends_the_run_in_time(board: Board, cluster: Any, tmp_path: Path) -> None:
    for device, cores, message in (("cuda", 1, "it has 0 GPUs and 2 CPU cores"), ("cpu", 8, "with 8 cores")):
        compute = Compute(device, backend="ray", address=cluster.address, cores=cores, limits=LIMITS)
        with pytest.raises(PurebenchError, match=message):
            run_board(board, tmp_path / "s", compute=compute)
    compute = Compute("cpu", workers=1, backend="ray", address=cluster.address, cores=2, limits=Limits(start=5))
    with pytest.raises(PurebenchError, match=r"expected a worker that is ready within 5.0 s.*wait until Ray places"):
        run_board(board, tmp_path / "s", compute=compute)


def test_an_address_at_which_nothing_answers_is_refused_in_time() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(PurebenchError, match=rf"nothing answers at 127.0.0.1:{port} within 10 s"):
        backend.connect(ray, f"127.0.0.1:{port}")
    for address in ("nonsense", "host:", "host:99999999"):
        with pytest.raises(PurebenchError, match="expected host:port"):
            backend.connect(ray, address)


def test_an_address_at_which_another_program_answers_is_refused_in_time() -> None:
    class Silent:
        def init(self, **options: Any) -> None:
            import time

            time.sleep(3)

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(PurebenchError, match=rf"{address} answers, but Ray does not within 0.2 s"):
            backend.connect(Silent(), address, seconds=0.2)
