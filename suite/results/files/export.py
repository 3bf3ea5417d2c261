"""Writes and reads result files: one JSON per defense, equal bytes for equal records; one of timings, one of ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES, load_json
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import Distance, from_plain
from purebench.results.files.challenge_history import History, identity, read_history
from purebench.results.grading.gathering import NO_COMPANIONS, Companions, evidence_of
from purebench.results.grading.grade import grades
from purebench.results.ranking.rank import ranked_results
from purebench.results.ranking.standing import data_of, ranks_file, standing
from purebench.results.results import DefenseResult

Timings = dict[str, dict[str, dict[str, float]]]
"""Seconds by defense, attack and phase."""

TIMINGS = "timings.json"
RANKS = "ranks.json"
GRADES = "grades.json"
BESIDE = (TIMINGS, RANKS, GRADES)
"""Files of the folder that belong to no single defense."""


def export_results(
    folder: Path,
    results: Iterable[DefenseResult],
    companions: Companions | None = NO_COMPANIONS,
    *,
    declared: Sequence[str] = (),
    origin: str = "",
) -> list[Path]:
    """Write `<folder>/<defense>.json` for each result, `timings.json`, `ranks.json` and `grades.json`.

    Files and timings of other defenses are kept. The ranks and grades are those of all defenses in the folder that were
    evaluated on the same board and data.

    Args:
        folder: the folder of results.
        results: the results to write.
        companions: the results of the boards derived from the board, for the grades of all these rows; None for no
            grades, as for rows that are not evaluated for their own sake.
        declared: the names of the controls that the board declares.
        origin: the board as the user named it, for the commands of the grades; "" if that is not known.

    Returns:
        The paths of the written files.

    Raises:
        PurebenchError: a file cannot be written; in this case no file has changed.
    """
    results = list(results)
    timings = _read_timings(folder)
    paths = {folder / f"{result.name}.json": result for result in results}
    for path, result in paths.items():
        if path.name in BESIDE or path.parent != folder:
            raise PurebenchError(
                f"{result.name!r}: expected a name of a defense that is a valid file name; choose another."
            )
        timings[result.name] = result.seconds
    others = [path for path in result_files(folder) if path not in paths] if results else []
    whole = [*results, *(_named_result(path, timings) for path in others)]
    history = read_history(folder)
    rows = [with_challenges(result, history) for result in whole if _together(result, whole[0])]
    beside = {TIMINGS: timings, RANKS: _ranks(rows)}
    if companions is not None:
        evidence = evidence_of(rows, companions, declared)
        beside[GRADES] = {name: found.to_dict() for name, found in grades(rows, evidence, origin).items()}
    files = ((path, as_json(result.to_dict())) for path, result in paths.items())
    write_files(chain(files, ((folder / name, as_json(value)) for name, value in beside.items())))
    return [*paths, *(folder / name for name in beside)]


def load_results(folder: Path) -> list[DefenseResult]:
    """Load the results that `export_results` wrote to a folder, sorted by name, with the bounds of challenges.

    Raises:
        PurebenchError: a file is not a result of this version, or the history of challenges is damaged.
    """
    timings, history = _read_timings(folder), read_history(folder)
    return [with_challenges(_named_result(path, timings), history) for path in result_files(folder)]


def check_others(folder: Path, rows: Collection[str]) -> None:
    """Check the files of other defenses in the folder, whose ranks `export_results` would write again.

    Args:
        folder: the folder of results.
        rows: the names of the rows to be written, whose files are not read.

    Raises:
        PurebenchError: a file is not a result of this version.
    """
    try:
        timings = _read_timings(folder)
        for path in result_files(folder):
            if path.stem not in rows:
                _read_result(path, timings)
    except PurebenchError as error:
        raise PurebenchError(f"{error} Or choose another folder (--results).") from error


def load_result(path: Path) -> DefenseResult:
    """Load the result of one defense that `export_results` wrote.

    Raises:
        PurebenchError: the file is not a result of this version.
    """
    return with_challenges(_read_result(path, _read_timings(path.parent)), read_history(path.parent))


def with_challenges(result: DefenseResult, history: History) -> DefenseResult:
    """Return the result with the bound of the last accepted challenge of this defense, if there is one.

    Args:
        result: the result.
        history: the history of the folder in which it is published.
    """
    found = history.best(identity(result)) if history.events else None
    return result if found is None or found.after is None else replace(result, challenged=found.after.estimate)


def result_files(folder: Path) -> list[Path]:
    """Return the paths of the results in a folder, sorted."""
    return sorted(path for path in folder.glob("*.json") if path.name not in BESIDE)


def _together(one: DefenseResult, other: DefenseResult) -> bool:
    """Return whether two rows are of one board and, as far as is known, of the same data."""
    return one.board == other.board and len(data_of((one, other))) < 2


def _ranks(results: Sequence[DefenseResult]) -> dict[str, Any]:
    """Return the ranks of all rows of a board; empty if the rows cannot be compared."""
    known = ranked_results(results)
    found = standing(known)
    return {} if found is None else ranks_file(found, known)


def as_json(value: Any) -> str:
    """Serialize a value in the layout of our JSON files: sorted keys, and one value a line, indented by its level.

    The layout is that of `json.dumps(value, sort_keys=True, indent=1)`, which takes many times as long for long lists.

    Raises:
        PurebenchError: the value contains NaN or infinity, which JSON does not have.
    """
    try:
        return _laid_out(value, 1) + "\n"
    except ValueError as error:
        raise PurebenchError(f"expected finite numbers in a result, but {error}.") from error


def _laid_out(value: Any, level: int) -> str:
    """Return the JSON of a value, whose inner values are indented by `level` spaces."""
    if isinstance(value, dict) and value:
        inner = [f"{_encoder(0).encode(key)}: {_laid_out(one, level + 1)}" for key, one in sorted(value.items())]
        return _between("{", f",\n{' ' * level}".join(inner), "}", level)
    if isinstance(value, list | tuple) and value:
        if any(issubclass(kind, dict | list | tuple) for kind in set(map(type, value))):
            return _between("[", f",\n{' ' * level}".join(_laid_out(one, level + 1) for one in value), "]", level)
        return _between("[", _encoder(level).encode(value)[1:-1], "]", level)
    return _encoder(0).encode(value)


def _between(opening: str, inner: str, closing: str, level: int) -> str:
    return f"{opening}\n{' ' * level}{inner}\n{' ' * (level - 1)}{closing}"


@cache
def _encoder(level: int) -> json.JSONEncoder:
    """Return an encoder that puts each value of a list on a line of its own."""
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(f",\n{' ' * level}", ": "))


def write_files(files: Mapping[Path, str] | Iterable[tuple[Path, str]]) -> None:
    """Write all text files or, as far as a file system allows, none: temporary files first, which are then moved.

    Args:
        files: the text of each file, or pairs of a file and its text, of which one at a time is held in memory.

    Raises:
        PurebenchError: a file cannot be written; the message contains its path, and no partial file remains.
    """
    texts = files.items() if isinstance(files, Mapping) else files
    write_bytes((path, text.encode()) for path, text in texts)


def write_bytes(files: Iterable[tuple[Path, bytes]]) -> None:
    """Write files as `write_files` does.

    Args:
        files: pairs of a file and its content.

    Raises:
        PurebenchError: as for `write_files`.
    """
    beside: dict[Path, Path] = {}
    path = None
    try:
        for path, content in files:
            beside[path] = path.with_name(f".{path.name}.{os.getpid()}.part")
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in beside.items():
            part.replace(path)
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
    """Return the result of a file in a folder of results, where two files must not contain the same row."""
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
