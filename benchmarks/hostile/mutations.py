"""Mutations of the files: bytes, values of a document, cells and tables of a store."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hostile.sample import BOARD, Sample

BIG, NAN = "@a whole number of 5,000 digits@", "@NaN@"
VALUES: list[Any] = [
    *[None, True, False, -1, 0, 1, 3, 0.5, -0.5, 1e308, 10**12, 2**63, 10**400, BIG, NAN, float("inf")],
    *["", "x", "x" * 10_000, "\x1b[31m", "\0", "\ud800", "2020-13-45", "8/0", "1e999999999", "0101", "none", "10**12"],
    *[[], {}, [1], [[]], {"a": 1}, ["0101"] * 8, {"none": None}, {"schema": 2}, "f(" * 500, "apgd(steps=" + "-" * 900],
]


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with some flipped, deleted, duplicated or truncated."""
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
    """Return plain values with one to three changes: values, renamed or dropped keys, truncated or doubled lists."""
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
    """Return every place of the tree, as its container and the key or index."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def as_text(value: Any, indent: int | None = None) -> str:
    """Return JSON, which is also YAML, with numbers that Python does not write."""
    text = json.dumps(value, indent=indent)
    return text.replace(json.dumps(BIG), "9" * 5000).replace(json.dumps(NAN), "NaN")


def doubled_key(text: str, rng: random.Random) -> str:
    """Return JSON text in which an object has one key twice."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if '": ' in line and line.rstrip().endswith(",")]
    number = rng.choice(found)
    return "\n".join([*lines[:number], lines[number], *lines[number:]])


def mutate_document(path: Path, out: Path, rng: random.Random) -> None:
    """Return a mutated copy of a YAML or JSON file."""
    sort = rng.random()
    if sort < 0.35:
        out.write_bytes(mutate_bytes(path.read_bytes(), rng))
        return
    value = BOARD if path.suffix == ".yaml" else json.loads(path.read_text(encoding="utf-8"))
    if sort > 0.85 and "worst_case" in value:  # a small part of the file that decides the robust accuracy
        text = as_text({**value, "worst_case": mutate_tree(value["worst_case"], rng)})
    else:
        text = doubled_key(as_text(value, 1), rng) if sort < 0.45 else as_text(mutate_tree(value, rng))
    out.write_bytes(text.encode("utf-8", "surrogatepass"))


def mutate_store(path: Path, out: Path, rng: random.Random) -> None:
    """Return a mutated copy of a store: bytes of the file, or cells and tables."""
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


def make(kind: str, sample: Sample, folder: Path, rng: random.Random) -> Path:
    """Write a mutated file of a kind into a new folder and return the path to read."""
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
