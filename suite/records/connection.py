"""Opens the SQLite file of a store, and refuses files that are not stores of this version."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.records import cells
from purebench.records.cells import SCHEMA

TABLES = {
    "records": "CREATE TABLE records (key TEXT PRIMARY KEY, board TEXT NOT NULL, json TEXT NOT NULL) STRICT",
    "adversarial": "CREATE TABLE adversarial "
    "(key TEXT PRIMARY KEY REFERENCES records(key), shape TEXT NOT NULL, pixels BLOB NOT NULL) STRICT",
    "plans": "CREATE TABLE plans (board TEXT PRIMARY KEY, json TEXT NOT NULL, keys TEXT NOT NULL) STRICT",
    "by_board": "CREATE INDEX by_board ON records(board)",
}


def connect(path: Path, *, make: bool = False) -> sqlite3.Connection:
    """Return a connection to a store of this version; with `make`, the tables of an empty file are created first.

    A file with other tables, views or triggers is rejected before they are queried: a query could run forever.
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
    """Check the version and the tables. Raises PurebenchError for another version, and for other tables."""
    if version == 0 and set(tables) == set(TABLES):
        raise PurebenchError(
            f"{path}: expected a store of schema {SCHEMA}, but this one is of purebench 0.4.0 or before, whose results "
            f"are no longer comparable; {cells.CURE}."
        )
    if version != SCHEMA and version != 0:
        raise PurebenchError(f"{path}: expected a store of schema {SCHEMA}, but got {version}; {cells.CURE}.")
    if tables != TABLES:
        raise PurebenchError(f"{path}: expected a store of purebench, but its tables differ; {cells.CURE}.")
