"""Finds the installed distributions that modules belong to, and their versions."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages."""
STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
"""Folders of Python's own modules."""
ABSENT = "not installed"


def is_installed(places: Iterable[str | Path]) -> bool:
    """Return whether one of the paths is in a folder of installed packages."""
    return any(part in INSTALLED for place in places for part in Path(place).parts)


def is_library(file: str) -> bool:
    """Return whether a file of code belongs to Python or to an installed package."""
    return file.startswith(STANDARD) or is_installed([file])


def owners_of(top: str) -> tuple[str, ...]:
    """Return the names of the distributions that installed a top-level module, in alphabetical order."""
    return tuple(sorted({found.name for found in _owners(_installed_state()).get(top, ())}))


def installed_version(distribution: str) -> str:
    """Return the version of a distribution, or `not installed`."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ABSENT


def _installed_state() -> tuple[tuple[str, int], ...]:
    """Return a value that changes when a package is installed."""
    return tuple(
        (place, os.stat(place).st_mtime_ns) for place in sys.path if is_installed([place]) and os.path.exists(place)
    )


@lru_cache(maxsize=1)
def _owners(state: tuple[tuple[str, int], ...]) -> dict[str, list[Distribution]]:
    """Like `importlib.metadata.packages_distributions`, which takes over a second with torch installed."""
    found: dict[str, list[Distribution]] = {}
    for distribution in distributions():
        for top in _tops(distribution):
            found.setdefault(top, []).append(distribution)
    return found


def _tops(distribution: Distribution) -> set[str]:
    listed = distribution.read_text("top_level.txt")
    if listed is not None:
        return set(listed.split())
    return set(re.findall(r"^[^/.,\n]+", distribution.read_text("RECORD") or "", re.MULTILINE))
