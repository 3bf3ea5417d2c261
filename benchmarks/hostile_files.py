"""Does a damaged or malicious file ever give a traceback? `python benchmarks/hostile_files.py`

A small board, its results and its store are mutated: bytes flipped and deleted, files cut off, values of other types,
keys renamed and doubled, huge numbers, deep nesting, packed bombs. Each is then read as the command line reads it, in
one process, and a share of them by the command line itself. Bars: nothing but a PurebenchError of one line, under five
seconds and one gigabyte each; exit codes 0, 1 and 2. All comes from --seed. Exit code 1 if a bar is missed.

--quick makes few mutations: it shows that everything runs.
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import yaml
from reporting import Report, fixed, parser, perform, text

from purebench.boards.board import Board
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import Job, WorstCaseJob, plan
from purebench.boards.parse import load_board, parse_board
from purebench.cli.commands.show import print_stored
from purebench.core.errors import PurebenchError
from purebench.leaderboards.terminal import print_board
from purebench.records import store
from purebench.records.outcome import Outcome
from purebench.records.record import Picture, Record
from purebench.results.export import export_results, load_results
from purebench.results.merge import merge
from purebench.results.rank import rank
from purebench.results.stored_board import from_store

BOARD: dict[str, Any] = {
    "name": "hostile",
    "title": "A board to be damaged",
    "dataset": {"use": "fashion-mnist", "images": 8, "block": 4, "seed": 0},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "8/255"},
    "verify": {"draws": 4},
    "confidence": 0.95,
    "seed": 0,
    "attacks": {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=3)", "gradient": "exact", "eot": 2},
        "fmn": {"use": {"fmn": {"steps": 3}}, "gradient": "exact", "only": "deterministic"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
    },
    "defenses": {"none": "none", "noise": {"gaussian-noise": {"sigma": 0.1}}},
    "stop": {"max_images": 8},
}
BIG, NAN = "@a whole number of 5,000 digits@", "@NaN@"
VALUES: list[Any] = [
    *[None, True, False, -1, 0, 1, 3, 0.5, -0.5, 1e308, 10**12, 2**63, 10**400, BIG, NAN, float("inf")],
    *["", "x", "x" * 10_000, "\x1b[31m", "\0", "\ud800", "2020-13-45", "8/0", "1e999999999", "0101", "none", "10**12"],
    *[[], {}, [1], [[]], {"a": 1}, ["0101"] * 8, {"none": None}, {"schema": 2}, "f(" * 500, "apgd(steps=" + "-" * 900],
]
SECONDS, BYTES = 5.0, 2**30
KINDS = ("boards", "results", "stores")


@dataclass(frozen=True)
class Sample:
    """An intact board, folder of results and store."""

    folder: Path

    @property
    def boards(self) -> Path:
        """The board.yaml."""
        return self.folder / "board.yaml"

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.folder / "results"

    @property
    def stores(self) -> Path:
        """The store."""
        return self.folder / "store.sqlite"


def make_sample(folder: Path) -> Sample:
    """Writes the intact files; nothing is run for them."""
    sample = Sample(folder)
    sample.boards.write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    board = load_board(sample.boards)
    rng = np.random.default_rng(0)
    jobs = plan(board, ["data"] * board.blocks, {"none": "w", "noise": "w"}, "1", code_of_board(board))
    found: dict[str, Record] = {}
    for job in jobs:
        if isinstance(job, WorstCaseJob):
            found[job.key] = _worst_case(board, job, [found[key] for key in job.needs], rng)
        else:
            found[job.key] = _record(board, job, rng)
    records = list(found.values())
    export_results(sample.results, merge(board, records))
    with store.writing(sample.stores) as saved:
        saved.set_plan(board.name, board.to_dict(), [job.key for job in jobs])
        for record in records:
            saved.add(record, rng.random((len(record.images), 1, 4, 4), dtype=np.float32))
    Path(f"{sample.stores}.lock").unlink(missing_ok=True)
    return sample


def _record(board: Board, job: Job, rng: np.random.Generator) -> Record:
    is_random = job.defense.name == "noise"
    start, count = job.block * board.dataset.block, board.dataset.block
    skipped = (is_random and job.attack.only == "deterministic") or (job.attack.name == "transfer" and not is_random)
    draws = ["".join(rng.choice(["0", "1"], 4 if is_random else 1)) for _ in range(count)]
    held = [Outcome.ROBUST if 2 * row.count("1") > len(row) else Outcome.MISCLASSIFIED for row in draws]
    shown = [Picture(start, start % 10, "AAAA", "BBBB", 1)] if job.block == 0 and not skipped else []
    return Record(
        key=job.key,
        board=board.name,
        defense=job.defense.name,
        attack=job.attack.name,
        block=job.block,
        images=list(range(start, start + count)),
        labels=[image % 10 for image in range(start, start + count)],
        outcomes=[Outcome.SKIPPED] * count if skipped else held,
        draws=[""] * count if skipped else draws,
        distances=[None] * count if skipped else [0.01] * count,
        nearest=[0.02, None] * (count // 2) if job.attack.name == "fmn" and not skipped else [],
        reasons=["does not apply"] * count if skipped else [],
        forwards=16,
        backwards=8,
        pictures=shown,
        provenance={
            "defense": {"random": is_random, "parameters": 10, "weights": "ab" * 32, "spec": job.defense.name},
            "data": "cd" * 32,
            "versions": {"purebench": "1", "torch": "2"},
            "commit": "",
            "device": "cpu",
        },
        seconds={"attack": 1.0, "verify": 0.5},
    )


def _worst_case(board: Board, job: WorstCaseJob, attacks: list[Record], rng: np.random.Generator) -> Record:
    """The record that picks any attack that answered; of a deterministic row the first that is wrong."""
    first, is_random = attacks[0], job.defense.name == "noise"
    asked = [[one for one in attacks if one.draws[i]] for i in range(len(first.images))]
    picks = [
        rng.choice(some) if is_random else min(some, key=lambda one: one.draws[i])  # type: ignore[arg-type]
        for i, some in enumerate(asked)
    ]
    picked = [one.attack for one in picks]
    draws = ["".join(rng.choice(["0", "1"], board.fresh)) if is_random else one.draws[i] for i, one in enumerate(picks)]
    return Record(
        key=job.key,
        board=board.name,
        defense=job.defense.name,
        attack=job.label,
        block=job.block,
        images=first.images,
        labels=first.labels,
        outcomes=[Outcome.ROBUST if 2 * row.count("1") > len(row) else Outcome.MISCLASSIFIED for row in draws],
        draws=draws,
        distances=[0.01] * len(picked),
        picked=[str(name) for name in picked],
        reasons=[""] * len(picked),
        notes=["made up"],
        forwards=64,
        provenance=first.provenance,
        seconds={"pick": 0.5, "verify": 0.25},
    )


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, deleted, doubled or cut off."""
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        place = rng.randrange(len(made) + 1)
        sort = rng.randrange(5)
        if sort == 0 and place < len(made):
            made[place] ^= 1 << rng.randrange(8)
        elif sort == 1:
            del made[place : place + rng.choice([1, 1, 10, 1000])]
        elif sort == 2:
            made[place:place] = made[place : place + rng.choice([1, 20, 300])]
        elif sort == 3:
            made[place:place] = rng.choice([b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 5000, b"[" * 3000, b"{", b'"'])
    return bytes(made[: rng.randrange(len(made) + 1)] if rng.random() < 0.15 else made)


def mutate_tree(value: Any, rng: random.Random) -> Any:
    """Plain values with one to three places changed: another value, a key renamed or dropped, a list cut or doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return value
        holder, key = rng.choice(places)
        sort = rng.randrange(6)
        if sort == 0:
            del holder[key]
        elif sort == 1 and isinstance(holder, dict):
            holder[rng.choice([f"{key}x", key[1:], "schema", "name", "\x1b", "x" * 5000])] = holder.pop(key)
        elif sort == 2 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif sort == 3:
            other, there = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[there]))
        elif sort == 4:
            deep: Any = 1
            for _ in range(rng.choice([30, 60, 300, 450])):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            holder[key] = deep
            return value
        else:
            holder[key] = rng.choice(VALUES)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of the tree, as what holds it and the key or index there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def as_text(value: Any, indent: int | None = None) -> str:
    """JSON, which is YAML as well, with the numbers that Python does not write."""
    text = json.dumps(value, indent=indent)
    return text.replace(json.dumps(BIG), "9" * 5000).replace(json.dumps(NAN), "NaN")


def doubled_key(text: str, rng: random.Random) -> str:
    """JSON text in which one key of an object comes twice."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if '": ' in line and line.rstrip().endswith(",")]
    number = rng.choice(found)
    return "\n".join([*lines[:number], lines[number], *lines[number:]])


def mutate_document(path: Path, out: Path, rng: random.Random) -> None:
    """A mutated copy of a YAML or JSON file."""
    sort = rng.random()
    if sort < 0.35:
        out.write_bytes(mutate_bytes(path.read_bytes(), rng))
        return
    value = BOARD if path.suffix == ".yaml" else json.loads(path.read_text(encoding="utf-8"))
    if sort > 0.85 and "worst_case" in value:  # a small part of many places, which decides the headline
        text = as_text({**value, "worst_case": mutate_tree(value["worst_case"], rng)})
    else:
        text = doubled_key(as_text(value, 1), rng) if sort < 0.45 else as_text(mutate_tree(value, rng))
    out.write_bytes(text.encode("utf-8", "surrogatepass"))


def mutate_store(path: Path, out: Path, rng: random.Random) -> None:
    """A mutated copy of a store: bytes of the file, or cells and tables."""
    shutil.copy(path, out)
    sort = rng.random()
    if sort < 0.4:
        out.write_bytes(mutate_bytes(out.read_bytes(), rng))
        return
    with closing(sqlite3.connect(out)) as saved, saved:
        if sort < 0.75:
            table, column, key = rng.choice(
                [("records", "json", "key"), ("plans", "json", "board"), ("plans", "keys", "board")]
            )
            where, text = rng.choice(saved.execute(f"SELECT {key}, {column} FROM {table}").fetchall())
            told = mutate_bytes(text.encode(), rng) if rng.random() < 0.3 else None
            changed = told.decode("utf-8", "replace") if told else as_text(mutate_tree(json.loads(text), rng))
            saved.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (changed, where))
        elif sort < 0.9:
            key, pixels = rng.choice(saved.execute("SELECT key, pixels FROM adversarial").fetchall())
            shape = rng.choice(["", "4,1,4,4", "4", "4,1,4,-4", "99999,99999,99999,9", "0,0,0,0", "4,1,8,8", "é", "16"])
            bomb = zlib.compress(bytes(rng.choice([0, 64, 10**8])), 1)
            changed = rng.choice([pixels, bomb, mutate_bytes(pixels, rng), b""])
            saved.execute("UPDATE adversarial SET shape = ?, pixels = ? WHERE key = ?", (shape, changed, key))
        else:
            saved.execute(rng.choice(TABLES))


TABLES = (
    "DROP TABLE records",
    "DROP TABLE plans",
    "ALTER TABLE plans RENAME COLUMN json TO text",
    "ALTER TABLE records ADD COLUMN more TEXT",
    "PRAGMA user_version = 7",
    "PRAGMA user_version = 0",
    "DELETE FROM plans",
    "DELETE FROM records",
    "UPDATE records SET key = key || 'x'",
    "UPDATE records SET board = 'other'",
    "UPDATE plans SET board = char(27) || '[31m'",
    "CREATE TRIGGER endless AFTER INSERT ON records BEGIN DELETE FROM records; END",
    "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
)
"""Statements that change the tables."""


def read_board(path: Path) -> None:
    """Reads a board, writes it down, reads that, and plans its jobs, as `run` does before anything is run."""
    board = load_board(path)
    again = parse_board(board.to_dict())
    assert again == board
    if board.most_blocks * len(board.attacks) * len(board.defenses) < 10_000:
        prints = {row.name: "w" for row in board.defenses}
        plan(board, ["data"] * board.most_blocks, prints, "1", code_of_board(board))


def read_results(folder: Path) -> None:
    """Reads and ranks the results of a folder, as `compare` and `show` do."""
    results = load_results(folder)
    boards = [result for result in results if result.board == results[0].board]
    rank(boards)


def read_store(path: Path) -> None:
    """Lists and shows what a store holds, and asks for all its images; then opens it for writing."""
    print_stored(path, None, None, None)
    board, records = from_store(path, BOARD["name"])
    found = merge(board, records)
    print_board(board, found)
    with store.writing(path) as saved:
        for record in records:
            saved.adversarial(record.key)


READ: dict[str, Callable[[Path], None]] = {"boards": read_board, "results": read_results, "stores": read_store}


def make(kind: str, sample: Sample, folder: Path, rng: random.Random) -> Path:
    """A mutated file of a kind, in a folder of its own; the path that is read."""
    if kind == "boards":
        mutate_document(sample.boards, folder / "board.yaml", rng)
        return folder / "board.yaml"
    if kind == "results":
        shutil.copytree(sample.results, folder / "results")
        name = rng.choice(["none.json", "none.json", "noise.json", "noise.json", "timings.json", "ranks.json"])
        mutate_document(sample.results / name, folder / "results" / name, rng)
        return folder / "results"
    mutate_store(sample.stores, folder / "store.sqlite", rng)
    return folder / "store.sqlite"


@dataclass
class Found:
    """The outcomes of one kind: read, refused, and what broke a promise; the slowest."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def fuzz(kind: str, count: int, seed: int, sample: Sample) -> Found:
    """Reads mutated files of one kind in this process; the sample stays as it is."""
    found = Found()
    with redirect_stdout(io.StringIO()):
        READ[kind](getattr(sample, kind))  # what is intact is read
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
    """Reads mutated files by the command line; the broken promises."""
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


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the top of the file."""
    words = parser(__doc__)
    words.add_argument("--quick", action="store_true", help="few mutations")
    options = words.parse_args(arguments)

    def measure(report: Report) -> None:
        with TemporaryDirectory() as home:
            measured(report, make_sample(Path(home)))

    def measured(report: Report, sample: Sample) -> None:
        rows = []
        for kind, count in zip(KINDS, (20, 20, 5) if options.quick else (2000, 2000, 500), strict=True):
            found = fuzz(kind, count, options.seed, sample)
            rows.append({"name": kind, "read": found.read, "refused": found.refused, "slowest": found.slowest})
            _no_faults(report, f"{kind}: one line, under {SECONDS:g} s and 1 GiB each", found.faults)
        columns = [("name", "files", text), ("read", "read", fixed(0)), ("refused", "refused", fixed(0))]
        report.show("mutated files", rows, [*columns, ("slowest", "slowest, s", fixed(2))])
        faults = by_command_line(3 if options.quick else 100, options.seed, sample)
        _no_faults(report, "by the command line: one line, exit code 0, 1 or 2", faults)

    return perform("hostile files", options, measure)


def _no_faults(report: Report, what: str, faults: list[str]) -> None:
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    report.at_most(what, len(faults), 0)


if __name__ == "__main__":
    sys.exit(main())
