"""Finds the local modules that a Python file imports, directly or indirectly, without running it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from purebench.core.source.import_closure import FILE, ImportGraph


def local_imports(path: Path) -> dict[str, Path]:
    """Return the files of the local modules that a Python file imports, by the names of the modules.

    Modules of purebench and of installed distributions are left out: their versions identify them.

    Args:
        path: the Python file.
    """
    found = ImportGraph("", path.parent, skip="purebench").closure(path).files
    return {name: place for name, place in found.items() if name != FILE}


def import_hashes(path: Path) -> dict[str, str]:
    """Return the sha256 of the local modules that a Python file imports, by the names of the modules.

    Args:
        path: the Python file.
    """
    return {name: hashlib.sha256(place.read_bytes()).hexdigest() for name, place in local_imports(path).items()}
