"""Compares the settings of a bundle with those of the board that it is submitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from purebench.boards.board import Board
from purebench.boards.bundled import bundled, find_board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.results.merge import header_of
from purebench.results.results import DefenseResult


def check_settings(result: DefenseResult, board: str | None) -> tuple[list[str], str]:
    """Compare the settings of a result with those of its board; further attacks are accepted.

    Args:
        result: the result.
        board: the board that it is submitted to, bundled or the path of a board.yaml; None for the bundled board of the
            same name.

    Returns:
        The settings that differ from those of the bundled board, and a remark for the report; "" if there is none.

    Raises:
        PurebenchError: the board is given, and its settings differ.
    """
    name = str(result.board["name"])
    if board is None and name not in bundled():
        return [], f"no board named {name} comes with purebench, so the settings are those of the bundle (--board)"
    own = load_board(find_board(name if board is None else board))
    apart = differing(own, result.board)
    if board is not None and apart:
        raise PurebenchError(
            f"{result.name}: expected the settings of {board}, but these differ: {', '.join(apart)}; run that board."
        )
    told = f"the settings differ from those of the bundled board {name}: {', '.join(apart)}" if apart else ""
    return apart, told


def differing(board: Board, header: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings of a board that differ in the header of a result.

    Args:
        board: the board.
        header: the board as the result stores it; it may have further attacks, which can only lower the accuracy.
    """
    own = header_of(board)
    apart = [key for key in own if key != "attacks" and own[key] != header.get(key)]
    apart += [key for key in header if key not in own]
    attacks = header.get("attacks", {})
    return sorted(apart) + [f"attacks.{name}" for name, one in own["attacks"].items() if attacks.get(name) != one]
