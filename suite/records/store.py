"""Stores records in one SQLite file: one transaction per job, one writer, nothing is lost if the process is killed."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import dumps_with_schema
from purebench.data.datasets import Array
from purebench.records import cells
from purebench.records.cells import SCHEMA
from purebench.records.connection import connect
from purebench.records.record import Record

AT_ONCE = 500
"""Records that are read by one query."""


class Store:
    """The records and adversarial images of any number of boards, by job key.

    Open it with `writing` or `reading`; every method raises PurebenchError for a full disk or a damaged file.

    Attributes:
        path: The SQLite file.
        connection: The open connection.
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
            cure = "free some disk space, then start again: everything saved so far is kept"
            if "full" not in str(error) and "I/O" not in str(error):
                cure = cells.CURE
            raise PurebenchError(f"{self.path}: the store cannot be used ({error}); {cure}.") from error

    def add(self, record: Record, adversarial: Array | None = None) -> None:
        """Write a record and its adversarial images in one transaction; a record of the same key is replaced.

        Args:
            record: The record.
            adversarial: The adversarial images, float32 [N,C,H,W] in [0,1], or None.
        """
        with self._guard(), self.connection:
            row = (record.key, record.board, record.to_json())
            self.connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)
            self.connection.execute("DELETE FROM adversarial WHERE key = ?", (record.key,))
            if adversarial is not None:
                pixels = zlib.compress(np.ascontiguousarray(adversarial, dtype="<f4").tobytes(), 1)
                shape = ",".join(str(side) for side in adversarial.shape)
                self.connection.execute("INSERT INTO adversarial VALUES (?, ?, ?)", (record.key, shape, pixels))

    def get(self, key: str) -> Record | None:
        """Return the record of a job, None if it was not run.

        Raises:
            PurebenchError: If the record is damaged.
        """
        with self._guard():
            row = self.connection.execute("SELECT json FROM records WHERE key = ?", (key,)).fetchone()
            return None if row is None else _record(key, row[0])

    def get_many(self, keys: Sequence[str]) -> Iterator[Record]:
        """Yield the records of jobs in the order of their keys, without those of jobs that were not run.

        Args:
            keys: Keys of the jobs.

        Raises:
            PurebenchError: If a record is damaged.
        """
        with self._guard():
            for start in range(0, len(keys), AT_ONCE):
                part = keys[start : start + AT_ONCE]
                query = f"SELECT key, json FROM records WHERE key IN ({','.join('?' * len(part))})"
                rows = dict(self.connection.execute(query, part))
                yield from (_record(key, rows[key]) for key in part if key in rows)

    def of_board(self, board: str) -> list[Record]:
        """Return all records of a board in the order in which they were added, also those of earlier plans.

        Args:
            board: Name of the board.

        Raises:
            PurebenchError: If a record is damaged.
        """
        with self._guard():
            rows = self.connection.execute(
                "SELECT key FROM records WHERE board = ? ORDER BY rowid", (board,)
            ).fetchall()
        found = [self.get(cells.text(key)) for (key,) in rows]
        return [record for record in found if record is not None]

    def has(self, key: str) -> bool:
        """Return whether a job was run."""
        with self._guard():
            return self.connection.execute("SELECT 1 FROM records WHERE key = ?", (key,)).fetchone() is not None

    def record_keys(self) -> list[str]:
        """Return the keys of all records, in the order in which they were written."""
        with self._guard():
            return [cells.text(key) for (key,) in self.connection.execute("SELECT key FROM records ORDER BY rowid")]

    def copy(self, key: str, source: Store) -> None:
        """Copy a record that this store lacks, and its images, from another store; the next write commits it."""
        with self._guard():
            for table in ("records", "adversarial"):
                for row in source.connection.execute(f"SELECT * FROM {table} WHERE key = ?", (key,)):
                    self.connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", row)

    def remove(self, keys: Iterable[str]) -> None:
        """Delete the records of these jobs and their adversarial images, in one transaction."""
        with self._guard(), self.connection:
            for key in keys:
                self.connection.execute("DELETE FROM adversarial WHERE key = ?", (key,))
                self.connection.execute("DELETE FROM records WHERE key = ?", (key,))

    def adversarial(self, key: str) -> Array | None:
        """Return the adversarial images float32 [N,C,H,W] of a job, None if there are none.

        Raises:
            PurebenchError: If they do not decompress to their shape; no more bytes than that are decompressed.
        """
        with self._guard():
            query = "SELECT shape, length(pixels) FROM adversarial WHERE key = ?"
            row = self.connection.execute(query, (key,)).fetchone()
            if row is None:
                return None
            shape = cells.shape(row[0])
            size = 4 * int(np.prod(shape, dtype=np.int64))
            possible = range(size // cells.MOST_PACKED, size + size // 100 + 1000)
            if row[1] not in possible:
                raise PurebenchError(
                    f"adversarial images: {row[1]:,} bytes cannot hold {size:,} for the shape {row[0]}."
                )
            packed = self.connection.execute("SELECT pixels FROM adversarial WHERE key = ?", (key,)).fetchone()[0]
            return cells.images(packed, shape, size)

    def set_plan(
        self,
        board: str,
        definition: dict[str, Any],
        keys: Sequence[str],
        origin: str = "",
        unlisted: Sequence[tuple[dict[str, Any], str]] = (),
        rows: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Save the definition of a board as it was last run, and the keys of its jobs in their order.

        Args:
            board: Name of the board.
            definition: The board as plain values.
            keys: Keys of its jobs.
            origin: The board as the user named it, a bundled one or the path of a board.yaml.
            unlisted: Definition and origin of the boards of earlier runs, with those of their rows that this plan
                lacks.
            rows: The keys of the worst-case jobs of each row, block by block, by which plans are compared.
        """
        with self._guard(), self.connection:
            others = [{"board": other, "origin": named} for other, named in unlisted]
            plan = {"board": definition, "origin": origin, "unlisted": others}
            plan["rows"] = {row: list(picking) for row, picking in (rows or {}).items()}
            row = (board, dumps_with_schema(plan, SCHEMA), json.dumps(list(keys)))
            self.connection.execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", row)

    def plans(self) -> dict[str, tuple[dict[str, Any], list[str]]]:
        """Return the boards that were run with this store, each with its definition and the keys of its jobs."""
        with self._guard():
            rows = self.connection.execute("SELECT board, json, keys FROM plans ORDER BY board").fetchall()
            return {
                cells.text(board): (cells.definition(cells.text(plan)), cells.keys(cells.text(keys)))
                for board, plan, keys in rows
            }

    def unlisted(self, board: str) -> list[tuple[dict[str, Any], str]]:
        """Return the definitions of earlier runs of a board, with the rows that its plan lacks, and their origins."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM plans WHERE board = ?", (board,)).fetchone()
            return cells.unlisted(cells.text(row[0])) if row else []

    def rows(self, board: str) -> dict[str, list[str]]:
        """Return the keys of the worst-case jobs of each row of a plan; {} if they are not known."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM plans WHERE board = ?", (board,)).fetchone()
            return cells.rows(cells.text(row[0])) if row else {}

    def origin(self, board: str) -> str:
        """Return the board as the user named it when it was last run; empty if that is not known."""
        with self._guard():
            row = self.connection.execute("SELECT json FROM plans WHERE board = ?", (board,)).fetchone()
            found = cells.plan(cells.text(row[0])).get("origin", "") if row else ""
            return found if isinstance(found, str) else ""


def _record(key: str, cell: Any) -> Record:
    """Return the record in a cell of the row with this key."""
    try:
        found = Record.from_json(cells.text(cell))
        if found.key != key:
            raise PurebenchError(f"key: expected the key of its row, but got {shown(found.key)}.")
    except PurebenchError as error:
        raise PurebenchError(f"the record {shown(key[:12])} is damaged: {error}") from error
    return found


@contextmanager
def writing(path: Path, wait: float = 0.0) -> Iterator[Store]:
    """Open the store for its single writer, and create it if needed.

    Args:
        path: The SQLite file.
        wait: Seconds to wait for another writer to end.

    Raises:
        PurebenchError: If another process still writes to the store then, or the store cannot be created or used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # FileLock would report a folder that cannot be written as a lock that another process holds
        with open(f"{path}.lock", "a", encoding="utf-8"):
            pass
        lock = FileLock(f"{path}.lock")
        lock.acquire(timeout=wait)
    except Timeout as error:
        holder = Path(f"{path}.pid")
        who = f" (process {holder.read_text(encoding='utf-8').strip()})" if holder.exists() else ""
        raise PurebenchError(
            f"{path}: another process of purebench{who} is writing to this store; wait for it (--wait SECONDS), or "
            "choose another (--store)."
        ) from error
    except OSError as error:
        raise PurebenchError(f"{path}: the store cannot be created ({error.strerror}).") from error
    try:
        store = Store(path, connect(path, make=True))
        try:
            Path(f"{path}.pid").write_text(str(os.getpid()), encoding="utf-8")
            yield store
        finally:
            store.connection.close()
            Path(f"{path}.pid").unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def creating(path: Path) -> Iterator[Store]:
    """Create a store without a lock, at a path that no other process uses."""
    store = Store(path, connect(path, make=True))
    try:
        yield store
        store.connection.commit()
    finally:
        store.connection.close()


@contextmanager
def reading(path: Path) -> Iterator[Store]:
    """Open the store for reading, while a writer may be at work.

    Args:
        path: The SQLite file.

    Raises:
        PurebenchError: If there is no store, or it cannot be used.
    """
    if not path.is_file():
        raise PurebenchError(f"{path}: expected a store, but the file does not exist; `purebench run` creates one.")
    store = Store(path, connect(path))
    try:
        yield store
    finally:
        store.connection.close()
