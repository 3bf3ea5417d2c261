"""Finds the Python files that a bundle names, by their names and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from purebench.core.errors import PurebenchError

CODE = "code"
"""Sub-folder of a submission for Python files."""


def code_file(path: Path, known: Mapping[str, str], folder: Path, *, elsewhere: bool = True) -> Path:
    """Return the Python file that a bundle names: a file of the same name and content.

    Args:
        path: the file as the bundle names it.
        known: the sha256 of each file that the bundle names.
        folder: the folder in which it is looked for, and in its sub-folder `code`.
        elsewhere: whether it may also lie where the bundle says, seen from the folder or from the working directory.

    Raises:
        PurebenchError: there is no file of this name with this content.
    """
    expected = known.get(path.as_posix())
    places = [folder / CODE / path.name]
    places += [folder / path.name, folder / path, path] if elsewhere else []
    there = [place for place in places if place.is_file()]
    for place in there:
        if hashlib.sha256(place.read_bytes()).hexdigest() == expected:
            return place
    why = "but it is missing" if not there else f"but {there[0]} differs"
    raise PurebenchError(
        f"{path}: expected the Python file that the bundle was made with (sha256 {str(expected)[:12]}…) in {folder}, "
        f"{why}; get it from the authors of the bundle, and name its folder (--code)."
    )
