"""Searches for an attack on a defense, and confirms it: what `purebench break` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from purebench.attack_search.bench import AttackBench
from purebench.attack_search.confirm import LARGEST_BLOCK, Confirmation, confirm
from purebench.attack_search.controls import MeasuredFault
from purebench.attack_search.report import BreakReport
from purebench.attack_search.search import SearchResult, find_how, search
from purebench.boards.board import Board
from purebench.core.errors import PurebenchError

CONFIRMING = 0.3
"""Share of the time that is kept for the confirmation."""
IMAGES = 48
"""Dev images of a search."""


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """The time of a search, and where it runs.

    Attributes:
        minutes: Time of search and confirmation.
        images: Number of dev images.
        confirm: Number of images of the board for the confirmation; None for as many as fit the time.
        evaluations: Largest number of candidates; None for no limit but the time.
        workers: Number of processes.
        device: cpu, cuda or cuda:0.
    """

    minutes: float
    images: int = IMAGES
    confirm: int | None = None
    evaluations: int | None = None
    workers: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 < self.minutes < 1e6:
            raise PurebenchError(f"--minutes: expected a time above 0, such as 10, but got {self.minutes!r}.")
        for name in ("images", "confirm", "evaluations", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PurebenchError(f"--{name}: expected a whole number of at least 1, but got {value}.")


def break_defense(
    board: Board,
    original: Board,
    path: Path,
    budget: SearchBudget,
    *,
    seed: int = 0,
    how: str = "auto",
    controls: Sequence[MeasuredFault] = (),
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> BreakReport:
    """Search for an attack on the only shown row of a board, on dev images, and confirm it on images of the board.

    All records are in the store, so that an interrupted call is continued by the next one.

    Args:
        board: The board, with the defense as its only shown row.
        original: The board with its own rows.
        path: The store.
        budget: Time and images.
        seed: Decides the candidates and the random numbers.
        how: Proposer: gp, random or auto.
        controls: Controls, for the report.
        command: The command line, for the report.
        progress: Called as the work proceeds.

    Returns:
        The report; without a confirmation if the search was interrupted.

    Raises:
        PurebenchError: For invalid arguments, a data set without dev images, and a search that finished no candidate.
    """
    find_how(how)
    _check_confirm(board, budget)
    progress("preparing", 0, 1)
    bench = AttackBench.of(
        board,
        path,
        device=budget.device,
        workers=budget.workers,
        seconds=60 * budget.minutes * (1 - CONFIRMING),
        images=budget.images,
        seed=seed,
    )
    found = search(bench, seed=seed, how=how, evaluations=budget.evaluations, progress=progress)
    confirmation: Confirmation | None = None
    if found.winner is not None and found.ended != "interrupted":
        images = budget.confirm or _fitting(board, found, budget)
        confirmation = confirm(
            board,
            found.winner[0],
            path,
            random=bench.known.random,
            images=images,
            device=budget.device,
            workers=budget.workers,
            progress=progress,
        )
    return BreakReport(
        board=board,
        original=original,
        found=found,
        random=bench.known.random,
        inner=bool(bench.known.inner),
        seed=seed,
        minutes=budget.minutes,
        images=budget.images,
        confirmation=confirmation,
        controls=controls,
        command=command,
    )


def _check_confirm(board: Board, budget: SearchBudget) -> None:
    if budget.confirm is not None and budget.confirm > board.dataset.images:
        raise PurebenchError(
            f"--confirm: expected at most {board.dataset.images}, the number of images of {board.name}, but got "
            f"{budget.confirm}; use fewer."
        )


def _fitting(board: Board, found: SearchResult, budget: SearchBudget) -> int:
    """Return how many images of the board the confirmation can use in its share of the time, in whole blocks."""
    assert found.winner is not None
    candidate, images = found.winner
    seconds = found.halving.scores[images][candidate.name].seconds / budget.workers
    block = min(LARGEST_BLOCK, board.dataset.images, board.dataset.block)
    most = int(60 * budget.minutes * CONFIRMING / max(seconds, 1e-9)) // block * block
    return max(block, min(board.dataset.images, most))
