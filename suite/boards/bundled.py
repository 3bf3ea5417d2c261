"""Finds the boards that come with purebench, by the names of their folders; no file is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from purebench.core.errors import PurebenchError, did_you_mean


def bundled() -> dict[str, Path]:
    """Return the files of the boards bundled with purebench, by name."""
    return dict(_installed())


@cache
def _installed() -> Mapping[str, Path]:
    """Return the files; looked for once, because every command that is printed asks for them."""
    root = Path(str(files("purebench.leaderboards"))) / "boards"
    return {path.parent.name: path for path in sorted(root.glob("*/board.yaml"))}


def find_board(name: str) -> Path:
    """Return the file of a board.

    Args:
        name: A bundled board, or the path of a board.yaml.

    Raises:
        PurebenchError: If it is neither; the message suggests the nearest names.
    """
    boards = bundled()
    if name in boards:
        return boards[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    raise PurebenchError(f"board: {name!r} is unknown; {did_you_mean(name, boards)} Or pass the path of a board.yaml.")
