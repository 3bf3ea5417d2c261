"""The board that a command line asks for: bundled or from a file, whole or a part of it, with other defenses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from purebench.board import Board, DefenseChoice, load_board
from purebench.errors import PurebenchError, nearest
from purebench.registry import Spec


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


def choose(name: str, defenses: Sequence[str] | None, images: int | None) -> Board:
    """The board with only the defenses asked for (rows of it, or other specs) and only its first `images`."""
    board = load_board(find_board(name))
    if images is not None:
        board = replace(board, dataset=replace(board.dataset, images=images))
    if defenses:
        rows = tuple(_row(board, text) for text in defenses)
        for row in rows:
            if sum(other.name == row.name for other in rows) > 1:
                raise PurebenchError(f"--defense: expected each defense once, but {row.name!r} came twice; drop one.")
        board = replace(board, defenses=rows)
    return board


def _row(board: Board, text: str) -> DefenseChoice:
    """The board's row of this name or spec, so that it replays exactly; else a new row named after the spec."""
    for row in board.defenses:
        if text == row.name:
            return row
    spec = Spec.parse(text)
    for row in board.defenses:
        if spec == row.use:
            return row
    label = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{Path(spec.name).name}{text[len(spec.name) :]}").strip("-")
    return DefenseChoice(label, spec)
