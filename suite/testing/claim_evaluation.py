"""Evaluates the defenses of a claim on more and more images until the claim is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from purebench.boards import selection
from purebench.boards.board import AttackChoice, Board
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.checks.finding import CheckStatus
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.incremental import Limits, largest, steps
from purebench.results.grading.best_known import with_bespoke
from purebench.results.results import CLEAN, DefenseResult
from purebench.results.scores import Floats, per_image
from purebench.testing.decision import Decision
from purebench.testing.failure_report import Evidence
from purebench.testing.settings import Settings


def find(board: str | Path | Board) -> Board:
    """Find the board, without its stopping rule, because claims have their own.

    Args:
        board: A board, the name of a bundled one, or the path of a board.yaml.

    Returns:
        The board.

    Raises:
        PurebenchError: If there is no such board.
    """
    found = board if isinstance(board, Board) else load_board(find_board(str(board)))
    return replace(found, stop=None)


def limits(settings: Settings) -> Limits:
    """Return the limits at which a claim stops undecided."""
    return Limits(settings.max_images, settings.budget)


def clean_only(board: Board) -> Board:
    """Return the board without attacks; its own clean job is kept, if it has one, so that it is not run twice."""
    own = [attack for attack in board.attacks if attack.name == CLEAN]
    return replace(board, attacks=tuple(own or [AttackChoice(CLEAN, Spec("clean"))]))


def looked(
    sides: Sequence[Evidence],
    board: Board,
    most: Limits,
    decide: Callable[[Sequence[Floats]], Decision],
    check: Callable[[DefenseResult], None] = lambda found: None,
    unchanged: Callable[[DefenseResult], bool] = lambda found: False,
    bespoke: bool = False,
) -> tuple[Sequence[Evidence], Decision | None]:
    """Evaluate more and more images until the claim is decided.

    Args:
        sides: The defenses of the claim.
        board: The board.
        most: Limits of images and time.
        decide: Makes a decision from the scores [n] in [0,1] of each defense.
        check: Called with each result of the first defense, to refuse one that cannot be compared.
        unchanged: Whether a result of the first defense is the one that it is compared with, so that there is no loss.
        bespoke: Whether attacks that are bespoke to the row are part of the suite.

    Returns:
        The defenses with their results, and the decision; None instead of a decision where a defense fails altogether.
    """
    decision = None
    for side in sides:
        side.run.prepare(selection.with_rows(largest(board, most), [side.row]))
    for part in steps(board, most):
        found = [side.run.result(selection.with_rows(part, [side.row])) for side in sides]
        sides = [
            side.with_results(context, with_bespoke(result) if bespoke else result)
            for side, (context, result) in zip(sides, found, strict=True)
        ]
        if any(side.found.failed for side in sides):
            return sides, None
        check(sides[0].found)
        # the decision must be the same whether images that ERRORED count as wrong or as right, on either side
        worst, best = (
            decide([per_image(side.found, errored=value) for side, value in zip(sides, errored, strict=False)])
            for errored in ((0.0, 1.0), (1.0, 0.0))
        )
        decision = worst if worst.result is best.result else replace(worst, result=CheckStatus.UNDECIDED)
        if any(side.found.errored for side in sides):
            decision = replace(decision, otherwise=best.estimate)
        if decision.result is CheckStatus.UNDECIDED and unchanged(sides[0].found):
            decision = replace(decision, result=CheckStatus.HOLDS)
        if decision.result is not CheckStatus.UNDECIDED:
            break
    return sides, decision


def require_attacked(sides: Sequence[Evidence]) -> None:
    """Check that an attack applied to each defense, because a clean accuracy is not a robust accuracy.

    Args:
        sides: The defenses with their results.

    Raises:
        PurebenchError: If no attack applied to one of them.
    """
    for side in sides:
        attacks = {attack.name for attack in side.found.attacks} - {CLEAN}
        if not side.found.failed and not (attacks and side.found.attacked):
            raise PurebenchError(
                f"{side.row.name}: expected an attack on {side.board} that applies to it, but there is none; use a "
                "board with an attack through BPDA, or with one that needs no gradient, such as square."
            )
