"""The board with its attacks doubled in effort, for `effort: auto`.

A level adds, for each attack that can grow, the same attack with twice the effort of the level before. The added
attacks spare images that an earlier attack broke on every draw. The attacks of the board itself stay as they are, and
so do their keys: every level uses the records of the levels before, and a job's result depends on its key alone.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

from purebench.boards.board import SOURCE, AttackChoice, Board
from purebench.core.registry import Spec, factory

GROWING = ("apgd", "apgd-t", "pgd", "md")
"""Attacks that can grow: those with steps and restarts."""
MOST_LEVELS = 8
"""Largest number of doublings."""
GROWN = re.compile(r".+-x(\d+)")


def grown(board: Board, level: int) -> Board:
    """Return the board with attacks of up to 2^level times the effort.

    Odd levels double the steps of the level before, and even levels its restarts.

    Args:
        board: The board as its author wrote it.
        level: Number of doublings, from 0, which gives the board itself.
    """
    added = [_grown(attack, one) for one in range(1, level + 1) for attack in growing(board)]
    return replace(board, attacks=(*board.attacks, *added))


def growing(board: Board) -> list[AttackChoice]:
    """Return the attacks of a board that can grow, without those that were added."""
    attacks = [attack for attack in board.attacks if attack.use.name in GROWING]
    return [attack for attack in attacks if attack.only != SOURCE and not attack.spare]


def ungrown(board: Board) -> Board:
    """Return a board with `effort: auto` without the attacks that were added to it, as its author wrote it."""
    if board.effort is None or not board.effort.auto:
        return board
    return replace(board, attacks=tuple(attack for attack in board.attacks if not level_of(board, attack.name)))


def grown_name(attack: str, level: int) -> str:
    """Return the name of an attack at a level."""
    return f"{attack}-x{2**level}"


def level_of(board: Board, attack: str) -> int:
    """Return the level at which an attack was added to a grown board; 0 for an attack of the board itself.

    Args:
        board: The grown board.
        attack: The name of one of its attacks.
    """
    found = GROWN.fullmatch(attack)
    names = {choice.name for choice in board.attacks if choice.spare}
    return int(found[1]).bit_length() - 1 if found and attack in names else 0


def effort_text(board: Board) -> str:
    """Return the effort that a board with `effort: auto` has reached, in words; "" for other boards."""
    if board.effort is None or not board.effort.auto:
        return ""
    return f"auto: attacks of up to {2 ** reached_level(board)} times the effort of the board"


def reached_level(board: Board) -> int:
    """Return the largest level of the attacks of a grown board; 0 for a board as its author wrote it."""
    return max((level_of(board, attack.name) for attack in board.attacks), default=0)


def factors(level: int) -> tuple[int, int]:
    """Return the factors of the steps and of the restarts at a level, whose product is 2^level."""
    return 2 ** (-(-level // 2)), 2 ** (level // 2)


def _grown(attack: AttackChoice, level: int) -> AttackChoice:
    longer, more = factors(level)
    params = {
        **attack.use.params,
        "steps": longer * _value(attack.use, "steps"),
        "restarts": more * _value(attack.use, "restarts"),
    }
    return replace(
        attack, name=grown_name(attack.name, level), use=Spec(attack.use.name, params), counters=False, spare=True
    )


def _value(use: Spec, name: str) -> int:
    """Return a parameter of an attack, its default if the spec does not give it."""
    made = inspect.signature(factory("attacks", use.name)[0]).parameters
    return int(use.params.get(name, made[name].default))
