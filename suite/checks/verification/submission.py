"""Writes and checks submissions: folders with a bundle, its description, the code it needs, and checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purebench.checks.verification.code_files import CODE, code_file
from purebench.checks.verification.entry import Entry, entry_of, read_entry
from purebench.checks.verification.settings import check_settings
from purebench.core.errors import PurebenchError
from purebench.core.files.text import MEBIBYTE, read_text
from purebench.core.source.local_imports import local_imports
from purebench.results.files.bundles.bundle import Bundle, read_bundle
from purebench.results.files.export import write_bytes

ENTRY, BUNDLE, SUMS = "entry.yaml", "bundle.zip", "SHA256SUMS"
MOST_CODE_FILES = 200
MOST_CODE_BYTES = MEBIBYTE
"""Size of the largest Python file of a submission."""


@dataclass(frozen=True)
class Submission:
    """A checked submission.

    Attributes:
        folder: its folder.
        entry: its description.
        bundle: its bundle.
        remarks: differences that do not make it invalid.
    """

    folder: Path
    entry: Entry
    bundle: Bundle
    remarks: tuple[str, ...]


def write_submission(bundle: Path, out: Path, described: Mapping[str, Any], code: Path | None = None) -> Submission:
    """Write the folder of a submission, `<out>/<board>/<row>/`, and check it.

    Args:
        bundle: the bundle.
        out: the folder of all submissions.
        described: the fields of the entry, without board, row and bundle.
        code: the folder of the Python files that the bundle names; None for that of the bundle.

    Returns:
        The submission.

    Raises:
        PurebenchError: the bundle or a field is invalid, a Python file is missing, or a file cannot be written.
    """
    found = read_bundle(bundle)
    manifest = found.manifest
    plain = {"schema": 1, "board": manifest.board, "row": manifest.row, "bundle": f"sha256:{found.hash}", **described}
    entry = entry_of(plain)
    folder = out / manifest.board / manifest.row
    if folder.exists() and any(folder.iterdir()):
        raise PurebenchError(f"{folder}: expected no earlier submission, but there is one; remove the folder.")
    files = {ENTRY: entry.to_yaml().encode(), BUNDLE: bundle.read_bytes()}
    files |= _code(found, code or bundle.parent)
    files[SUMS] = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items())).encode()
    write_bytes((folder / name, data) for name, data in files.items())
    return check_submission(folder)


def check_submission(folder: Path, board: str | None = None) -> Submission:
    """Check a submission as the workflow of a leaderboard repository does; nothing of it is run.

    Args:
        folder: the folder `<board>/<row>/`.
        board: the board that it is submitted to, bundled or the path of a board.yaml; None for the bundled one of its
            name.

    Raises:
        PurebenchError: a file is missing, added or changed, the parts contradict each other, or the settings are not
            those of the board.
    """
    names = _names(folder)
    _check_sums(folder, names)
    entry, bundle = read_entry(folder / ENTRY), read_bundle(folder / BUNDLE)
    stated = (entry.board, entry.row, entry.bundle)
    expected = (bundle.manifest.board, bundle.manifest.row, f"sha256:{bundle.hash}")
    if stated != expected:
        raise PurebenchError(
            f"{folder / ENTRY}: expected board, row and sha256 of the bundle, {', '.join(expected)}, but got "
            f"{', '.join(stated)}; write the submission again (purebench submit)."
        )
    place = folder.resolve()
    if (place.parent.name, place.name) != stated[:2]:
        raise PurebenchError(
            f"{folder}: expected a folder {entry.board}/{entry.row}, the names of board and row; rename it."
        )
    for path in bundle.manifest.code_files:
        code_file(Path(path), bundle.manifest, folder, elsewhere=False)
    _, told = check_settings(bundle, board)
    return Submission(folder, entry, bundle, (told,) if told else ())


def _code(bundle: Bundle, folder: Path) -> dict[str, bytes]:
    """Return the Python files that a bundle names and the local modules that they import, by their places."""
    found: dict[str, bytes] = {}
    for name in bundle.manifest.code_files:
        path = code_file(Path(name), bundle.manifest, folder).resolve()
        imported = [one.resolve() for one in local_imports(path).values()]
        beside = [one for one in imported if one.is_relative_to(path.parent)]
        for one in {path, *beside}:
            place = f"{CODE}/{one.relative_to(path.parent).as_posix()}"
            if found.setdefault(place, one.read_bytes()) != one.read_bytes():
                raise PurebenchError(f"{one}: expected Python files of different names, but two are named {one.name}.")
    return found


def _names(folder: Path) -> list[str]:
    """Return the files of a submission. Raises PurebenchError for links, other files, and files that are too large."""
    if not folder.is_dir():
        raise PurebenchError(f"{folder}: expected the folder of a submission, but it is not a folder.")
    names = []
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            inside = path.relative_to(folder)
            if path.is_symlink() or (name in files and not path.is_file()):
                raise PurebenchError(
                    f"{path}: expected a file or folder, but it is a link or a special file; remove it."
                )
            if name in folders:
                continue
            code = inside.parts[0] == CODE and len(inside.parts) > 1 and inside.suffix == ".py"
            if not code and inside.as_posix() not in (ENTRY, BUNDLE, SUMS):
                raise PurebenchError(
                    f"{path}: expected {ENTRY}, {BUNDLE}, {SUMS} and Python files in {CODE}/; remove this file."
                )
            if code and path.stat().st_size > MOST_CODE_BYTES:
                raise PurebenchError(
                    f"{path}: expected at most {MOST_CODE_BYTES // MEBIBYTE} MiB, but it is larger; shorten it."
                )
            names.append(inside.as_posix())
    if missing := [name for name in (ENTRY, BUNDLE, SUMS) if name not in names]:
        raise PurebenchError(
            f"{folder}: expected {', '.join(missing)}, but they are missing; write the submission again."
        )
    if len(names) > MOST_CODE_FILES:
        raise PurebenchError(f"{folder}: expected at most {MOST_CODE_FILES} files, but got {len(names)}; remove some.")
    return sorted(name for name in names if name != SUMS)


def _check_sums(folder: Path, names: list[str]) -> None:
    lines = read_text(folder / SUMS, MEBIBYTE).splitlines()
    expected = [f"{_sha256((folder / name).read_bytes())}  {name}" for name in names]
    if lines != expected:
        changed = next((name for name, line in zip(names, expected, strict=True) if line not in lines), "")
        differing = changed or "the number or the order of the lines"
        raise PurebenchError(
            f"{folder / SUMS}: expected the hash of every file, but this differs: {differing}; write the "
            "submission again (purebench submit)."
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
