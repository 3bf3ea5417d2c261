"""Derives the boards of a sweep: the board's attacks on dev images, with a row for each strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from purebench.boards.board import AttackChoice, Board, DefenseChoice
from purebench.boards.derived.dev_board import dev_board
from purebench.boards.derived.effort_board import UNDEFENDED
from purebench.boards.files.local_paths import beside
from purebench.boards.selection import at_radius, row, with_rows
from purebench.checks.sweeps.definition import Sweep
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.results.attack_result import CLEAN

SWEPT = "-sweep"
"""End of the name of the board of a sweep."""


def sweep_board(board: Board, sweep: Sweep) -> Board:
    """Return the board of a sweep: all strengths, and the undefended classifier, on dev images.

    It has the threat model and the attacks of the board, except those that are bespoke to single rows, so that all
    strengths face the same attacks. A strength that is a row of the board has the name of that row.

    Args:
        board: The board.
        sweep: The sweep.

    Raises:
        PurebenchError: If the data set has no dev images or too few, or the board is on dev images.
    """
    dev = dev_board(board, sweep.images)
    if dev.dataset.use == board.dataset.use:
        raise PurebenchError(
            f"sweep: expected a board on test images, but {board.name} is on the dev images {board.dataset.use}, on "
            "which strengths are chosen; use another split for the board (split=test)."
        )
    plain = undefended(board)
    strengths = [row(board, strength.text) for one in sweep.families for strength in one.strengths]
    rows = [plain, *(one for one in strengths if one != plain)]
    attacks = tuple(
        one for one in board.attacks if not one.rows or any(board.reuses(name, one.name) for name in one.rows)
    )
    if CLEAN not in [attack.name for attack in attacks]:
        attacks = (AttackChoice(CLEAN, Spec(CLEAN)), *attacks)
    made = replace(
        with_rows(dev, rows),
        name=f"{board.name}{SWEPT}",
        title=f"{board.title}, sweep on dev images",
        about="",
        attacks=attacks,
        cascade=board.cascade or sweep.cascade,
        stop=None,
        effort=None,
        controls=(),
        origin="",
    )
    return made if sweep.folder is None else beside(made, sweep.folder)


def radius_board(board: Board, names: Sequence[str], radius: str) -> Board:
    """Return the board of a sweep with some of its rows only, at another radius.

    Args:
        board: The board of the sweep.
        names: Names of the rows.
        radius: The radius, as it is written.
    """
    return at_radius(with_rows(board, [one for one in board.defenses if one.name in names]), radius)


def undefended(board: Board) -> DefenseChoice:
    """Return the row of the board's classifier alone, to which the clean accuracies are compared."""
    found = row(board, "none")
    if found.use == Spec("none"):
        return found
    taken = {one.name for one in board.defenses}
    return DefenseChoice(next(name for name in UNDEFENDED if name not in taken), Spec("none"))
