"""Renders a board's rows as HTML for a notebook: its own styles, no script, readable on light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from purebench.leaderboards.badge_text import verification_text
from purebench.leaderboards.notes import notes, threat_text
from purebench.leaderboards.page import templates
from purebench.results.ranking.rank import Row

if TYPE_CHECKING:
    from purebench.boards.board import Board


def table(board: Board, rows: Sequence[Row], left_out: Collection[str] = ()) -> str:
    """Return the ranked table with drawn intervals, followed by each attack's accuracies, folded, and the notes.

    Args:
        board: The board.
        rows: Its rows, in the order of their ranks.
        left_out: Rows that were not run because their files are not on the machine.

    Returns:
        The HTML.
    """
    attacks = [attack.name for attack in board.attacks]
    told = [note.plain for note in notes(board, rows, (False, False), left_out)]
    told += [verification_text(rows, {})] if rows else []  # a report is of this machine's own evaluation
    return (
        templates()
        .get_template("report.html.j2")
        .render(board=board, rows=rows, attacks=attacks, notes=told, threat=threat_text(board))
    )
