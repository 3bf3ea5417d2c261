"""Finds the bundles whose pictures are on a site."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from purebench.core.errors import PurebenchError

BUNDLES = "*.zip"


def bundle_files(wanted: Iterable[Path]) -> tuple[list[Path], set[Path]]:
    """Find files of bundles: those named, and all in folders that are named, at any depth.

    Args:
        wanted: Files and folders.

    Returns:
        The files, and those that were found in folders only.

    Raises:
        PurebenchError: If one does not exist, or a folder has no zip file.
    """
    found: list[Path] = []
    named = list(wanted)
    for one in named:
        files = sorted(path for path in one.rglob(BUNDLES) if path.is_file()) if one.is_dir() else [one]
        if not one.exists() or not files:
            what = "has no zip file" if one.is_dir() else "does not exist"
            raise PurebenchError(
                f"--pictures: expected a bundle or a folder of bundles (purebench bundle), but {one} {what}."
            )
        found += files
    return list(dict.fromkeys(found)), set(found) - set(named)
