"""Reads mutated files as the command line does, and collects missed requirements."""

from __future__ import annotations

import io
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from hostile.mutations import make
from hostile.sample import BOARD, Sample
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import plan
from purebench.boards.parse import load_board, parse_board
from purebench.cli.commands.show import print_stored
from purebench.core.errors import PurebenchError
from purebench.leaderboards.terminal import print_board
from purebench.records import store
from purebench.results.files.export import load_results
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge
from purebench.results.ranking.rank import rank

SECONDS, BYTES = 5.0, 2**30
KINDS = ("boards", "results", "stores")


def read_board(path: Path) -> None:
    """Read a board, write it, read it again and plan its jobs, as `run` does before the first job."""
    board = load_board(path)
    again = parse_board(board.to_dict())
    assert again == board
    if board.most_blocks * len(board.attacks) * len(board.defenses) < 10_000:
        prints = {row.name: "w" for row in board.defenses}
        plan(board, ["data"] * board.most_blocks, prints, "1", code_of_board(board))


def read_results(folder: Path) -> None:
    """Read and rank the results of a folder, as `compare` and `show` do."""
    results = load_results(folder)
    boards = [result for result in results if result.board == results[0].board]
    rank(boards)


def read_store(path: Path) -> None:
    """List and show the content of a store, read all its images, and open it for writing."""
    print_stored(path, None, None, None)
    board, records = from_store(path, BOARD["name"])
    found = merge(board, records)
    print_board(board, found)
    with store.writing(path) as saved:
        for record in records:
            saved.adversarial(record.key)


READ: dict[str, Callable[[Path], None]] = {"boards": read_board, "results": read_results, "stores": read_store}


@dataclass
class Found:
    """The outcomes for one kind of file: read, rejected, missed requirements; the slowest file."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def fuzz(kind: str, count: int, seed: int, sample: Sample) -> Found:
    """Read mutated files of one kind in this process; the sample is unchanged."""
    found = Found()
    with redirect_stdout(io.StringIO()):
        READ[kind](getattr(sample, kind))  # the intact file must be readable
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        with TemporaryDirectory() as folder:
            path = make(kind, sample, Path(folder), rng)
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, perf_counter()
            try:
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    READ[kind](path)
                found.read += 1
            except PurebenchError as error:
                found.refused += 1
                if len(str(error)) > 2000 or "\n" in str(error):
                    found.faults.append(f"{kind} {number}: not one line: {str(error)[:200]!r}")
            except BaseException as error:
                found.faults.append(f"{kind} {number}: {type(error).__name__}: {str(error)[:200]}")
            took = perf_counter() - began
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            found.slowest = max(found.slowest, took)
            if took > SECONDS or grown > BYTES:
                found.faults.append(f"{kind} {number}: {took:.1f} s and {grown / 2**20:.0f} MiB")
    return found


def by_command_line(count: int, seed: int, sample: Sample) -> list[str]:
    """Read mutated files by the command line and return the missed requirements."""
    faults = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        rng = random.Random(f"{kind} {seed} {number}")
        with TemporaryDirectory() as folder:
            path = str(make(kind, sample, Path(folder), rng))
            words = {
                "boards": ["compare", "none", "noise", "--store", str(sample.stores), "--board", path],
                "results": ["compare", "none", "noise", "--results", path],
                "stores": ["show", BOARD["name"], "--store", path],
            }[kind]
            done = subprocess.run(
                [sys.executable, "-m", "purebench", *words], capture_output=True, text=True, timeout=120, check=False
            )
        errors = done.stderr.strip().splitlines()
        if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr or len(errors) > 1:
            faults.append(f"{' '.join(words)}, {kind} {number}: {done.returncode}, {done.stderr[-300:]!r}")
    return faults
