"""Results ↔ files: one JSON a defense, the same bytes for the same records; one about time, one of the ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES, load_json
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import Distance, from_plain
from purebench.results.rank import standing_of
from purebench.results.results import DefenseResult

Timings = dict[str, dict[str, dict[str, float]]]
"""Seconds by defense, attack and phase."""

TIMINGS = "timings.json"
RANKS = "ranks.json"
BESIDE = (TIMINGS, RANKS)
"""Files of the folder that are no defense's."""


def export_results(folder: Path, results: Iterable[DefenseResult]) -> list[Path]:
    """Writes `<folder>/<defense>.json` for each result, `timings.json` and `ranks.json`; returns the paths.

    Files of other defenses stay, and so do their timings; the ranks are those of all defenses in the folder, as far as
    they were found on the same board. Raises PurebenchError if one cannot be written; then none has changed.
    """
    results = list(results)
    timings = _read_timings(folder)
    files = {}
    for result in results:
        path = folder / f"{result.name}.json"
        if path.name in BESIDE or path.parent != folder:
            raise PurebenchError(f"{result.name!r}: expected a defense's name to make a file name; choose another.")
        files[path] = as_json(result.to_dict())
        timings[result.name] = result.seconds
    files[folder / TIMINGS] = as_json(timings)
    others = [path for path in _result_files(folder) if path not in files] if results else []
    files[folder / RANKS] = as_json(_ranks([*results, *(_named_result(path, timings) for path in others)]))
    write_files(files)
    return list(files)


def load_results(folder: Path) -> list[DefenseResult]:
    """The results that `export_results` wrote there, by name. Raises PurebenchError for any other file."""
    timings = _read_timings(folder)
    return [_named_result(path, timings) for path in _result_files(folder)]


def check_others(folder: Path, rows: Collection[str]) -> None:
    """Reads the results of other defenses in the folder, whose ranks `export_results` would write beside these rows'.

    Raises PurebenchError for a file that is no result of this version.
    """
    try:
        timings = _read_timings(folder)
        for path in _result_files(folder):
            if path.stem not in rows:
                _read_result(path, timings)
    except PurebenchError as error:
        raise PurebenchError(f"{error} Or name another folder (--results).") from error


def load_result(path: Path) -> DefenseResult:
    """The result of one defense that `export_results` wrote. Raises PurebenchError for any other file."""
    return _read_result(path, _read_timings(path.parent))


def _result_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.name not in BESIDE)


def _ranks(results: Sequence[DefenseResult]) -> dict[str, Any]:
    """Where the rows of the first one's board stand; empty where they cannot be compared."""
    found = standing_of(result for result in results if result.board == results[0].board)
    return {} if found is None else found.to_dict()


def as_json(value: Any) -> str:
    """How our JSON files are laid out. Raises PurebenchError for NaN and infinity, which JSON has not."""
    try:
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise PurebenchError(f"expected finite numbers in a result, but {error}.") from error


def write_files(files: Mapping[Path, str]) -> None:
    """Writes all files or, as far as a file system allows, none: each beside its place, then all moved.

    Raises PurebenchError naming the file; nothing half-written is left.
    """
    beside = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    path = None
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside[path].open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            beside[path].replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PurebenchError(f"{path}: cannot be written ({reason}); free the disk or choose another place.") from error
    finally:
        for part in beside.values():
            with suppress(OSError):
                part.unlink()


def _read_result(path: Path, timings: Timings) -> DefenseResult:
    text = read_text(path, MOST_BYTES)
    try:
        found = DefenseResult.from_json(text)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected a result that purebench exported, but: {error}") from error
    return found.with_seconds(timings.get(found.name, {}))


def _named_result(path: Path, timings: Timings) -> DefenseResult:
    """The result of a file in a folder of results, where two files must not hold the same row."""
    found = _read_result(path, timings)
    if found.name != path.stem:
        raise PurebenchError(f"{path}: expected the result of {path.stem!r}, but it is of {found.name!r}; rename it.")
    return found


def _read_timings(folder: Path) -> Timings:
    path = folder / TIMINGS
    if not path.exists():
        return {}
    try:
        return from_plain(dict[str, dict[str, dict[str, Distance]]], load_json(read_text(path, MOST_BYTES)))
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected timings by defense, but: {error} Delete the file.") from error
