"""Records in one SQLite file: one transaction a job, one writer, nothing lost when killed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import dumps_with_schema, require_version
from purebench.data.datasets import Array
from purebench.records.record import Record

SCHEMA = 1
"""The version of the tables (SQLite's user_version), and of the plans."""
TABLES = {
    "records": "CREATE TABLE records (key TEXT PRIMARY KEY, board TEXT NOT NULL, json TEXT NOT NULL) STRICT",
    "adversarial": "CREATE TABLE adversarial "
    "(key TEXT PRIMARY KEY REFERENCES records(key), shape TEXT NOT NULL, pixels BLOB NOT NULL) STRICT",
    "plans": "CREATE TABLE plans (board TEXT PRIMARY KEY, json TEXT NOT NULL, keys TEXT NOT NULL) STRICT",
    "by_board": "CREATE INDEX by_board ON records(board)",
}
CURE = "name another file (--store), or move this one away"
MOST_PIXELS = 2**28
"""Most numbers of the adversarial images of one job."""
MOST_KEYS = 1_000_000
MOST_PACKED = 1100
"""zlib packs at most so many bytes into one."""
CHUNK = 2**20


class Store:
    """The records and adversarial images of any number of boards, by job key.

    Opened by `writing` or `reading`; every method raises PurebenchError for a full disk or a damaged file.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection):
        self.path, self.connection = path, connection

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except PurebenchError as error:
            raise PurebenchError(f"{self.path}: {error}") from error
        except (sqlite3.Error, UnicodeError) as error:
            cure = "free some space, then start again: everything saved so far is kept"
            if "full" not in str(error) and "I/O" not in str(error):
                cure = CURE
            raise PurebenchError(f"{self.path}: the store cannot be used ({error}); {cure}.") from error

    def add(self, record: Record, adversarial: Array | None = None) -> None:
        """Writes a record, and the images behind it, in one transaction; a record of the same key is replaced."""
        with self._guard(), self.connection:
            row = (record.key, record.board, record.to_json())
            self.connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)
            self.connection.execute("DELETE FROM adversarial WHERE key = ?", (record.key,))
            if adversarial is not None:
                pixels = zlib.compress(np.ascontiguousarray(adversarial, dtype="<f4").tobytes(), 1)
                shape = ",".join(str(side) for side in adversarial.shape)
                self.connection.execute("INSERT INTO adversarial VALUES (?, ?, ?)", (record.key, shape, pixels))

    def get(self, key: str) -> Record | None:
        """The record of a job, None if it was not run."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM records WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            try:
                found = Record.from_json(_text(row[0]))
                if found.key != key:
                    raise PurebenchError(f"key: expected that of its row, but got {shown(found.key)}.")
            except PurebenchError as error:
                raise PurebenchError(f"the record {shown(key[:12])} is damaged: {error}") from error
            return found

    def has(self, key: str) -> bool:
        """Whether a job was run."""
        with self._guard():
            return self.connection.execute("SELECT 1 FROM records WHERE key = ?", (key,)).fetchone() is not None

    def remove(self, keys: Iterable[str]) -> None:
        """Deletes the records of these jobs and the images behind them, in one transaction."""
        with self._guard(), self.connection:
            for key in keys:
                self.connection.execute("DELETE FROM adversarial WHERE key = ?", (key,))
                self.connection.execute("DELETE FROM records WHERE key = ?", (key,))

    def adversarial(self, key: str) -> Array | None:
        """The adversarial images float32 [N,C,H,W] of a job, None if there are none.

        Raises:
            PurebenchError: they do not unpack to their shape; no more is unpacked than that.
        """
        with self._guard():
            query = "SELECT shape, length(pixels) FROM adversarial WHERE key = ?"
            row = self.connection.execute(query, (key,)).fetchone()
            if row is None:
                return None
            shape = _shape(row[0])
            size = 4 * int(np.prod(shape, dtype=np.int64))
            possible = range(size // MOST_PACKED, size + size // 100 + 1000)
            if row[1] not in possible:
                raise PurebenchError(
                    f"adversarial images: {row[1]:,} bytes cannot hold {size:,} for the shape {row[0]}."
                )
            packed = self.connection.execute("SELECT pixels FROM adversarial WHERE key = ?", (key,)).fetchone()[0]
            return _unpack(packed, shape, size)

    def set_plan(self, board: str, definition: dict[str, Any], keys: Sequence[str], origin: str = "") -> None:
        """Remembers what a board was when it was last run: its definition, and the keys of its jobs in their order.

        origin: how the user named the board, a bundled one or the path of a board.yaml.
        """
        with self._guard(), self.connection:
            plan = {"board": definition, "origin": origin}
            row = (board, dumps_with_schema(plan, SCHEMA), json.dumps(list(keys)))
            self.connection.execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", row)

    def plans(self) -> dict[str, tuple[dict[str, Any], list[str]]]:
        """The boards that were run here, each with its definition and the keys of its jobs."""
        with self._guard():
            rows = self.connection.execute("SELECT board, json, keys FROM plans ORDER BY board").fetchall()
            return {_text(board): (_definition(_text(plan)), _keys(_text(keys))) for board, plan, keys in rows}

    def origin(self, board: str) -> str:
        """How the user named a board when it was last run; empty where that is not known."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM plans WHERE board = ?", (board,)).fetchone()
            found = _plan(_text(row[0])).get("origin", "") if row else ""
            return found if isinstance(found, str) else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PurebenchError(f"expected text in a cell, but got {shown(value)}; {CURE}.")
    return value


def _shape(text: Any) -> tuple[int, ...]:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9}){3}", text):
        raise PurebenchError(f"adversarial images: expected a shape such as 12,1,32,32, but got {shown(text)}.")
    shape = tuple(int(side) for side in text.split(","))
    if int(np.prod([float(side) for side in shape])) > MOST_PIXELS:
        raise PurebenchError(f"adversarial images: expected at most {MOST_PIXELS:,} numbers, but got the shape {text}.")
    return shape


def _unpack(packed: Any, shape: tuple[int, ...], size: int) -> Array:
    """The images of a blob that zlib packed; unpacks `size` bytes at most."""
    if not isinstance(packed, bytes):
        raise PurebenchError(f"adversarial images: expected bytes, but got {shown(packed)}.")
    images = np.empty(shape, dtype="<f4")
    place, filled = images.reshape(-1).view(np.uint8), 0
    unpacker, rest = zlib.decompressobj(), packed
    try:
        while not unpacker.eof and filled <= size:
            part = unpacker.decompress(rest, CHUNK)
            if not part and unpacker.unconsumed_tail == rest:
                break  # cut off
            rest = unpacker.unconsumed_tail
            place[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)[: size - filled]
            filled += len(part)
    except zlib.error as error:
        raise PurebenchError(f"adversarial images: the bytes are damaged ({error}).") from error
    if filled != size or not unpacker.eof:
        raise PurebenchError(f"adversarial images: expected {size:,} bytes for the shape {shape}, but got others.")
    return images


def _plan(text: str) -> dict[str, Any]:
    data = load_json(text)
    if not isinstance(data, dict):
        raise PurebenchError(f"expected the plan of a board, but got {shown(data)}; {CURE}.")
    require_version(data, SCHEMA, CURE)
    return data


def _definition(text: str) -> dict[str, Any]:
    """The board of a plan, in plain values that `parse_board` validates."""
    if not isinstance(board := _plan(text).get("board"), dict):
        raise PurebenchError(f"expected the plan of a board, but got {shown(board)}; {CURE}.")
    return board


def _keys(text: str) -> list[str]:
    keys = load_json(text)
    if not isinstance(keys, list) or len(keys) > MOST_KEYS or not all(isinstance(key, str) for key in keys):
        raise PurebenchError(f"expected the keys of a plan, but got {shown(keys)}; {CURE}.")
    return keys


@contextmanager
def writing(path: Path, wait: float = 0.0) -> Iterator[Store]:
    """The store for its one writer, made if need be.

    wait: seconds to wait for another writer to end. Raises PurebenchError if one still holds the store then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # the lock itself takes a folder that cannot be written for a busy one
        with open(f"{path}.lock", "a", encoding="utf-8"):
            pass
        lock = FileLock(f"{path}.lock")
        lock.acquire(timeout=wait)
    except Timeout as error:
        holder = Path(f"{path}.pid")
        who = f" (process {holder.read_text(encoding='utf-8').strip()})" if holder.exists() else ""
        raise PurebenchError(
            f"{path}: another purebench{who} is writing to this store; "
            "wait for it (--wait SECONDS), or name another (--store)."
        ) from error
    except OSError as error:
        raise PurebenchError(f"{path}: the store cannot be made ({error.strerror}).") from error
    try:
        store = Store(path, _connect(path, make=True))
        try:
            Path(f"{path}.pid").write_text(str(os.getpid()), encoding="utf-8")
            yield store
        finally:
            store.connection.close()
            Path(f"{path}.pid").unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def reading(path: Path) -> Iterator[Store]:
    """The store for looking only; a writer may be at work. Raises PurebenchError if there is none."""
    if not path.is_file():
        raise PurebenchError(f"{path}: expected a store, but there is none; `purebench run` makes one.")
    store = Store(path, _connect(path))
    try:
        yield store
    finally:
        store.connection.close()


def _connect(path: Path, *, make: bool = False) -> sqlite3.Connection:
    """A connection to a store of this version, whose tables are made first in an empty file if `make`.

    A file with other tables, views or triggers is refused before anything is asked of them: they could run for ever.
    """
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=30)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        if not found and make:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for sql in TABLES.values():
                    connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
        else:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            _require_ours(path, dict(found), version)
    except (sqlite3.Error, UnicodeError) as error:
        if connection is not None:
            connection.close()
        raise PurebenchError(f"{path}: expected a store of purebench, but it cannot be used ({error}).") from error
    except PurebenchError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _require_ours(path: Path, tables: dict[str, Any], version: int) -> None:
    """Raises PurebenchError for another version's store, and for a file with other tables."""
    if version == 0 and set(tables) == set(TABLES):
        raise PurebenchError(
            f"{path}: expected a store of schema {SCHEMA}, but this one is of purebench 0.4.0 or before, whose results "
            f"are no longer comparable; {CURE}."
        )
    if version != SCHEMA and version != 0:
        raise PurebenchError(f"{path}: expected a store of schema {SCHEMA}, but got {version}; {CURE}.")
    if tables != TABLES:
        raise PurebenchError(f"{path}: expected a store of purebench, but its tables are others; {CURE}.")
