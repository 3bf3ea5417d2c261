"""Builds the board with the attack that a search found: the attack is bespoke to the row of the defense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, count

from purebench.attack_search.candidate import AttackCandidate, sequence_eot
from purebench.boards.board import AttackChoice, Board, DefenseChoice

ADDED = "found"
"""Name of the attack on the board that is written, if it is free."""


@dataclass(frozen=True)
class FoundBoard:
    """A board with the attack that a search found, and the defense as a row.

    Attributes:
        board: The board. The robust accuracies and the ranks of the common suite stay as they are.
        attack: The attack on it.
        existing: Whether the attack is one of the common suite already, so that nothing was added.
    """

    board: Board
    attack: AttackChoice
    existing: bool = False


def found_board(original: Board, row: DefenseChoice, candidate: AttackCandidate, *, random: bool) -> FoundBoard:
    """Return the board with a candidate as an attack.

    If the board has an equal attack that is bespoke to other rows, this row is added to these, because a board may not
    have two equal attacks.

    Args:
        original: The board with its own rows.
        row: The row of the defense.
        candidate: The attack.
        random: Whether the defense is random.
    """
    rows = (*(other for other in original.defenses if other.name != row.name), row)
    choice = replace(candidate.choice(_free_name(original), sequence_eot(random)), rows=(row.name,))
    equal = next((other for other in original.attacks if other.same_as(choice)), None)
    attacks = original.attacks
    if equal is None:
        attacks = (*attacks, choice)
    elif equal.rows:
        choice = replace(equal, rows=tuple(dict.fromkeys((*equal.rows, row.name))))
        attacks = tuple(choice if other is equal else other for other in attacks)
    elif equal.only == ("deterministic" if random else "random"):
        choice = replace(choice, only="random" if random else "deterministic")
        attacks = (*attacks, choice)
    else:
        return FoundBoard(replace(original, defenses=rows), equal, existing=True)
    board = replace(
        original,
        name=f"{original.name}-found",
        title=f"{original.title}, with an attack that was searched for",
        attacks=attacks,
        defenses=rows,
    )
    return FoundBoard(board, choice)


def _free_name(board: Board) -> str:
    taken = {attack.name for attack in board.attacks}
    return next(name for name in chain([ADDED], (f"{ADDED}-{n}" for n in count(2))) if name not in taken)
