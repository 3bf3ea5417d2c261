"""Measures `purebench show`, the page and the export of results on the synthetic store of a large board.

The file is also run as a program, in a new process for each measurement: `show` prints the ranking of a store, `page`
also writes the page and the results. It prints the processor and wall seconds and the peak memory as JSON. `write`
writes the store, so that a profiler can run the two others.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.records import store
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.records.record import Record
from purebench.results.results import CLEAN

if TYPE_CHECKING:
    from common.reporting import Report

IMAGES, DEFENSES, ATTACKS, DRAWS, BLOCK = 10_000, 20, 10, 16, 100
"""The sizes of the board; DRAWS is that of the verification draws and of the fresh draws."""
WHAT = {"show": (3.0, 800), "page": (15.0, 800)}
"""The bars of each measurement: processor seconds, and peak memory in MB."""
SMALLER = 5
"""The time on all images is compared with that on a fifth of them."""
LINEAR_BAR = 1.1
"""Largest ratio of the time to SMALLER times that of the smaller store."""
NAME = "bookkeeping"
FACTS = {"random": True, "parameters": 2_000_000, "weights": "ab" * 32}

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def make_board(images: int, defenses: int, attacks: int, draws: int) -> Board:
    """Return the board, whose rows are random defenses; the third attack searches for the nearest images."""
    kinds = [AttackChoice(CLEAN, Spec(CLEAN))]
    kinds += [AttackChoice(f"apgd-{steps}", Spec("apgd", {"steps": steps}), "exact", 4) for steps in range(1, attacks)]
    if attacks > 2:
        kinds[2] = AttackChoice("fmn", Spec("fmn", {"steps": 40}), "exact", 4)
    rows = [
        DefenseChoice(f"noise-{row}", Spec("gaussian-noise", {"sigma": row / 100})) for row in range(1, 1 + defenses)
    ]
    return Board(
        NAME,
        "Synthetic results",
        "",
        DatasetChoice(Spec("fashion-mnist"), images, min(BLOCK, images)),
        Spec("fashion-resnet"),
        ThreatModel("linf", 16 / 255),
        tuple(kinds),
        tuple(rows),
        draws=draws,
        fresh=draws,
        radius_text="16/255",
    )


def records(board: Board, seed: int) -> Iterator[Record]:
    """Yield synthetic records of all jobs: the probability of a right draw differs by row, attack and image."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(board.dataset.images)
    labels = rng.integers(0, 10, board.dataset.images)
    for row, defense in enumerate(board.defenses):
        for block in range(board.blocks):
            images = order[board.images_of(block) : board.images_of(block + 1)]
            first = Record(
                f"{defense.name}/{block}",
                board.name,
                defense.name,
                "",
                block,
                images.tolist(),
                labels[images].tolist(),
                [],
                [],
                [],
                forwards=100 * len(images),
                backwards=100 * len(images),
                seconds={"attack": 20.0, "verify": 2.0},
                provenance={
                    "defense": {**FACTS, "spec": str(defense.use)},
                    "data": "cd" * 32,
                    "code": "ef" * 32,
                    "versions": {"purebench": "0.5.0", "torch": "2.8.0", "python": "3.11.7", "numpy": "2.3.0"},
                    "commit": "0" * 40,
                    "device": "cpu",
                },
            )
            yield from _block(rng, board, first, hard=0.4 + row / (2 * len(board.defenses)))


def _block(rng: np.random.Generator, board: Board, first: Record, hard: float) -> Iterator[Record]:
    count, draws, radius = len(first.images), board.draws, board.threat.radius
    skill = rng.beta(1.5, 1.5, count) ** (1 - hard)
    right = [
        np.sort(rng.random((count, draws))) < (skill if a else np.sqrt(skill))[:, None]
        for a, _ in enumerate(board.attacks)
    ]
    for attack, found in zip(board.attacks, right, strict=True):
        distances = np.zeros(count) if attack.name == CLEAN else radius * rng.random(count)
        known: dict[str, Any] = {}
        if attack.use.name == "fmn":
            known = {"nearest": [2 * d if d < radius / 2 else None for d in distances.tolist()]}
        yield replace(_answered(first, found, distances), key=f"{first.key}/{attack.name}", attack=attack.name, **known)
    worst = np.argmin([found.mean(axis=1) for found in right], axis=0)
    fresh = rng.random((count, board.fresh)) < skill[:, None]
    scored = _answered(first, fresh, radius * rng.random(count))
    picked = [board.attacks[index].name for index in worst.tolist()]
    yield replace(scored, key=f"{first.key}/{WORST_CASE}", attack=WORST_CASE, picked=picked, backwards=0)


def _answered(first: Record, right: Bools, distances: Floats) -> Record:
    majority = right.sum(axis=1) * 2 > right.shape[1]
    return replace(
        first,
        outcomes=[Outcome.ROBUST if robust else Outcome.MISCLASSIFIED for robust in majority.tolist()],
        draws=["".join("01"[draw] for draw in row) for row in right.tolist()],
        distances=distances.tolist(),
    )


def write_store(path: Path, board: Board, seed: int) -> None:
    """Write the synthetic records of a board to a store, in few transactions."""
    with store.writing(path) as saved:
        saved.connection.execute("PRAGMA synchronous = OFF")
        keys = []
        for record in records(board, seed):
            saved.add(record)
            keys.append(record.key)
        saved.set_plan(board.name, board.to_dict(), keys)


def run(what: str, path: Path) -> dict[str, float]:
    """Run one command in this process.

    Args:
        what: show, or page for the page and the results, too.
        path: The store.

    Returns:
        Processor seconds and peak memory of the process, imports included; the wall seconds of the command; the
        processor seconds of a loop (`loop_seconds`) in the same process, and the number of printed lines.
    """
    from purebench.cli.commands.show import print_stored

    folder = path.parent / "results"
    page = path.parent / "page.html"
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_stored(path, NAME, page if what == "page" else None, folder if what == "page" else None)
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": used.ru_utime + used.ru_stime,
        "wall": wall,
        "megabytes": peak_megabytes(),
        "loop": loop_seconds(),
        "lines": printed.getvalue().count("\n"),
    }


def measured(what: str, path: Path) -> dict[str, float]:
    """Run one command in a new process, with one thread."""
    command = [sys.executable, str(Path(__file__)), what, str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(report: Report, options: argparse.Namespace) -> None:
    """Measure both commands on all images and on a part of them."""
    from common.reporting import fixed, text  # imports torch, which the measured processes must not

    images = options.images or IMAGES
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (max(images // SMALLER, 1), images):
            path = Path(folder) / f"{count}" / "store.sqlite"
            write_store(path, make_board(count, DEFENSES, ATTACKS, DRAWS), options.seed)
            rows += [{"name": what, "images": count, **measured(what, path)} for what in WHAT]
    columns = (
        ("name", "", text),
        ("images", "images", text),
        ("cpu", "processor, s", fixed(2)),
        ("wall", "wall, s", fixed(2)),
        ("megabytes", "MB", fixed(0)),
        ("loop", "s of a loop", fixed(2)),
    )
    report.show(f"bookkeeping: {DEFENSES} rows, {ATTACKS} attacks, {DRAWS} draws", rows, columns)
    for what, (seconds, megabytes) in WHAT.items():
        few, many = (row for row in rows if row["name"] == what)
        report.at_most(f"{what}, processor seconds", many["cpu"], seconds)
        report.at_most(f"{what}, MB", many["megabytes"], megabytes)
        growth = many["cpu"] / few["cpu"] * few["images"] / many["images"]
        report.at_most(f"{what}, time per image ÷ that of a part", growth, LINEAR_BAR)


def peak_megabytes() -> float:
    """Return the peak memory of this process in MB; that of `getrusage` includes the process which started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def loop_seconds() -> float:
    """Return the processor seconds of five million additions, by which machines can be compared."""
    began, total = time.process_time(), 0
    for number in range(5_000_000):
        total += number
    return time.process_time() - began


def main(words: Sequence[str] | None = None) -> None:
    """Write the store, or run one command on it and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description="Writes a synthetic store, or measures a command on it.")
    parser.add_argument("what", choices=["write", *WHAT])
    parser.add_argument("store", type=Path)
    parser.add_argument("--images", type=int, default=IMAGES, help="with write: number of images")
    options = parser.parse_args(words)
    if options.what == "write":
        write_store(options.store, make_board(options.images, DEFENSES, ATTACKS, DRAWS), 0)
    else:
        print(json.dumps(run(options.what, options.store)))


if __name__ == "__main__":
    main()
