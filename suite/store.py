"""Records in one SQLite file: one transaction a job, one writer, nothing lost when killed."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from purebench.datasets import Array
from purebench.errors import PurebenchError
from purebench.records import Record

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, board TEXT NOT NULL, json TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS adversarial (
    key TEXT PRIMARY KEY REFERENCES records(key), shape TEXT NOT NULL, pixels BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS plans (board TEXT PRIMARY KEY, json TEXT NOT NULL, keys TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS by_board ON records(board);
"""
ORIGIN = "origin"
"""The key beside a board's definition under which the store keeps how the user named the board."""


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
        except sqlite3.Error as error:
            cure = "free some space, then start again: everything saved so far is kept"
            if "full" not in str(error) and "I/O" not in str(error):
                cure = "name another file (--store), or move this one away"
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
        return Record.from_json(row[0]) if row else None

    def remove(self, keys: Iterable[str]) -> None:
        """Deletes the records of these jobs and the images behind them, in one transaction."""
        with self._guard(), self.connection:
            for key in keys:
                self.connection.execute("DELETE FROM adversarial WHERE key = ?", (key,))
                self.connection.execute("DELETE FROM records WHERE key = ?", (key,))

    def adversarial(self, key: str) -> Array | None:
        """The adversarial images float32 [N,C,H,W] of a job, None if there are none."""
        with self._guard():
            row = self.connection.execute("SELECT shape, pixels FROM adversarial WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        shape = tuple(int(side) for side in row[0].split(","))
        return np.frombuffer(zlib.decompress(row[1]), dtype="<f4").reshape(shape).copy()

    def set_plan(self, board: str, definition: dict[str, Any], keys: Sequence[str], origin: str = "") -> None:
        """Remembers what a board was when it was last run: its definition, and the keys of its jobs in their order.

        origin: how the user named the board, a bundled one or the path of a board.yaml.
        """
        with self._guard(), self.connection:
            kept = definition | ({ORIGIN: origin} if origin else {})
            row = (board, json.dumps(kept), json.dumps(list(keys)))
            self.connection.execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", row)

    def plans(self) -> dict[str, tuple[dict[str, Any], list[str]]]:
        """The boards that were run here, each with its definition and the keys of its jobs."""
        with self._guard():
            rows = self.connection.execute("SELECT board, json, keys FROM plans ORDER BY board").fetchall()
        plans = {board: (json.loads(definition), json.loads(keys)) for board, definition, keys in rows}
        for definition, _ in plans.values():
            definition.pop(ORIGIN, None)
        return plans

    def origin(self, board: str) -> str:
        """How the user named a board when it was last run; empty where that is not known."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM plans WHERE board = ?", (board,)).fetchone()
        return str(json.loads(row[0]).get(ORIGIN, "")) if row else ""


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
        store = Store(path, _connect(path, SCHEMA))
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
    store = Store(path, _connect(path, "SELECT key, board, json FROM records LIMIT 1"))
    try:
        yield store
    finally:
        store.connection.close()


def _connect(path: Path, first: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=30)
        connection.executescript(first)
    except sqlite3.Error as error:
        raise PurebenchError(f"{path}: expected a store of purebench, but it cannot be used ({error}).") from error
    return connection
