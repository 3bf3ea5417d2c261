"""A board's rows as a piece of HTML for a notebook: styles of its own, no script, legible on light and dark."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from purebench.leaderboards.site import templates
from purebench.leaderboards.terminal import notes, threat_text
from purebench.results.rank import Row

if TYPE_CHECKING:
    from purebench.boards.board import Board


def table(board: Board, rows: Sequence[Row], left_out: Collection[str] = ()) -> str:
    """The ranked table with drawn intervals, each attack's accuracies folded away below, and the notes.

    left_out: rows that were not run because their files are not on the machine.
    """
    attacks = [attack.name for attack in board.attacks]
    told = [note.plain for note in notes(board, rows, (False, False), left_out)]
    return (
        templates()
        .get_template("report.html.j2")
        .render(board=board, rows=rows, attacks=attacks, notes=told, threat=threat_text(board))
    )
