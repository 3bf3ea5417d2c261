"""The boards that come with purebench, by name; nothing is read but the names of their folders."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from purebench.core.errors import PurebenchError, nearest


def bundled() -> dict[str, Path]:
    """The boards shipped with purebench, by name."""
    root = Path(str(files("purebench.leaderboards"))) / "boards"
    return {path.parent.name: path for path in sorted(root.glob("*/board.yaml"))}


def find_board(name: str) -> Path:
    """The file of a board. Raises PurebenchError naming the nearest."""
    boards = bundled()
    if name in boards:
        return boards[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    raise PurebenchError(f"board: {name!r} is unknown; {nearest(name, boards)} Or name a board.yaml.")
