"""Boards that are run after a board's own jobs: they show how far its results can be believed, and change none."""

from __future__ import annotations

from purebench.boards.board import Board
from purebench.boards.effort_board import effort_board


def companion_boards(board: Board) -> list[Board]:
    """Return the boards that are derived from a board and run after it, in the same store.

    Args:
        board: The board.
    """
    return [effort_board(board)] if board.effort is not None else []
