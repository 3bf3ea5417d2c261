"""Finds the Python files that a bundle names, by their names and hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.source.local_imports import import_hashes
from purebench.results.files.bundles.manifest import Manifest

CODE = "code"
"""Sub-folder of a submission for Python files."""


def code_file(path: Path, manifest: Manifest, folder: Path, *, elsewhere: bool = True) -> Path:
    """Return the Python file that a bundle names: one with its name, its content and its imported local modules.

    Args:
        path: the file as the bundle names it.
        manifest: the manifest of the bundle, with the sha256 of each file that it names and of what these import.
        folder: the folder of the submission or bundle; its sub-folder `code` is searched first.
        elsewhere: whether to look also in the folder itself, and at the path in the bundle, seen from the folder or
            from the working directory.

    Raises:
        PurebenchError: there is no file of this name with this content, or it imports other local modules.
    """
    expected = manifest.code_files.get(path.as_posix())
    places = [folder / CODE / path.name]
    places += [folder / path.name, folder / path, path] if elsewhere else []
    there = [place for place in places if place.is_file()]
    for place in there:
        if hashlib.sha256(place.read_bytes()).hexdigest() == expected:
            _check_imports(path, manifest.imports.get(path.as_posix(), {}), place)
            return place
    why = "but it is missing" if not there else f"but {there[0]} differs"
    raise PurebenchError(
        f"{path}: expected the Python file that the bundle was made with (sha256 {str(expected)[:12]}…) in {folder}, "
        f"{why}; get it from the authors of the bundle, and name its folder (--code)."
    )


def _check_imports(path: Path, expected: dict[str, str], place: Path) -> None:
    """Raise PurebenchError if the local modules that a file imports are not those of the bundle."""
    found = import_hashes(place)
    if apart := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
        raise PurebenchError(
            f"{path}: expected the local modules that it imported when the bundle was made, but these differ in "
            f"{place.parent}, or are missing: {', '.join(apart)}; get them from the authors of the bundle."
        )
