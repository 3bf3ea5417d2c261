"""Decides for `effort: auto` which rows need attacks of twice the effort; the answer depends on their results alone."""

from __future__ import annotations

from collections.abc import Sequence

from purebench.boards.board import Board
from purebench.boards.derived.growing_effort import MOST_LEVELS, growing, grown_name
from purebench.results.figures.passes import passes_per_image
from purebench.results.grading.convergence import BACK, LEVEL, MARGIN
from purebench.results.results import DefenseResult
from purebench.results.scores import per_image
from purebench.statistics import exceeds_by_less


def unfinished(board: Board, levels: Sequence[Sequence[DefenseResult]]) -> list[str]:
    """Return the names of the rows for which the attacks should be doubled once more.

    A row is finished if the last `BACK` doublings together lowered its robust accuracy by significantly less than
    `MARGIN`, as in the ladder (`convergence`), if nothing is left to attack, or if no attack that can grow applies to
    it. All rows are finished if another doubling would exceed the budget of one of them, because all rows get the same
    attacks. Robust accuracies are those at the picked adversarial examples, on fresh draws. The k-th decision has the
    level `LEVEL`/2^k, so that all decisions together stop too early with a probability of at most `LEVEL`.

    Args:
        board: the board as its author wrote it, with `effort: auto`.
        levels: the results of every level so far, from the board as it was written; the last is after all doublings.
    """
    level, after = len(levels) - 1, levels[-1]
    if level >= MOST_LEVELS or any(_exceeds_budget(board, row, level) for row in after):
        return []
    earlier = {result.name: result for result in levels[level - BACK]} if level >= BACK else {}
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
    if before is None or before.images != after.images:
        return True
    decision = level - BACK + 1
    return not exceeds_by_less(per_image(before), left, MARGIN, LEVEL / 2**decision)


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
