"""Decides for `effort: auto` which rows need attacks of twice the effort; the answer depends on their results alone."""

from __future__ import annotations

from collections.abc import Sequence

from purebench.boards.board import Board
from purebench.boards.derived.growing_effort import MOST_LEVELS, growing, grown_name
from purebench.results.figures.passes import passes_per_image
from purebench.results.grading.convergence import LEVEL, MARGIN
from purebench.results.results import DefenseResult
from purebench.results.scores import per_image
from purebench.statistics import exceeds_by_less


def unfinished(board: Board, before: Sequence[DefenseResult], after: Sequence[DefenseResult], level: int) -> list[str]:
    """Return the names of the rows for which the attacks should be doubled once more.

    A row is finished if the last doubling lowered its robust accuracy by significantly less than `MARGIN`, if nothing
    is left to attack, or if no attack that can grow applies to it. All rows are finished if another doubling would
    exceed the budget of one of them, because all rows get the same attacks. Robust accuracies are those at the picked
    adversarial examples, on fresh draws. The k-th decision has the level `LEVEL`/2^k, so that all decisions together
    stop too early with a probability of at most `LEVEL`.

    Args:
        board: the board as its author wrote it, with `effort: auto`.
        before: the results of the level before; empty at level 0.
        after: the results of this level.
        level: the number of doublings, from 0.
    """
    if level >= MOST_LEVELS or any(_exceeds_budget(board, row, level) for row in after):
        return []
    earlier = {result.name: result for result in before}
    return [row.name for row in after if _unfinished(board, earlier.get(row.name), row, level)]


def _exceeds_budget(board: Board, result: DefenseResult, level: int) -> bool:
    assert board.effort is not None
    more = passes_of_next_level(board, result, level)
    return more > 0 and passes_per_image(result).total + more > board.effort.budget


def _unfinished(board: Board, before: DefenseResult | None, after: DefenseResult, level: int) -> bool:
    if not after.attacked or passes_of_next_level(board, after, level) == 0:
        return False
    left = per_image(after)
    if not left.any():
        return False
    if before is None or level == 0 or before.images != after.images:
        return True
    return not exceeds_by_less(per_image(before), left, MARGIN, LEVEL / 2**level)


def passes_of_next_level(board: Board, result: DefenseResult, level: int) -> float:
    """Return the purifier passes per image that the next level costs on a row: twice those of this level.

    Args:
        board: the board as its author wrote it.
        result: the result of the row at this level.
        level: the number of doublings.
    """
    names = {attack.name if level == 0 else grown_name(attack.name, level) for attack in growing(board)}
    passes = sum(attack.weighted_passes for attack in result.attacks if attack.name in names)
    return 2 * passes / len(result.images)
