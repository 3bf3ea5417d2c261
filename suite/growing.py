"""A board on more and more images, for whoever stops as soon as enough is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from purebench.board import Board
from purebench.context import Context
from purebench.leaderboards.merge import merge
from purebench.leaderboards.results import DefenseResult
from purebench.running import Progress, run_board

WAIT = 3600.0
"""Seconds to wait for another process that writes to the store; it lets go between two steps."""
CLOSELY = 8
"""A step is one block, and an eighth of what there is where that is more: models are loaded anew for each."""


@dataclass(frozen=True)
class Run:
    """Where and how boards are run. store: the SQLite file. progress: is told of every job."""

    store: Path
    device: str = "cpu"
    workers: int = 1
    progress: Progress = lambda done, total, record: None


def found_by(run: Run, board: Board) -> tuple[Context, DefenseResult]:
    """What is found of the board's one shown defense. Raises PurebenchError for bad input."""
    context, records = run_board(
        board, run.store, device=run.device, workers=run.workers, wait=WAIT, progress=run.progress
    )
    (found,) = merge(context.board, records)
    return context, found


def steps(board: Board, most: int | None = None) -> Iterator[Board]:
    """The board on its first block, then on more, up to all of its images or `most`.

    Whole blocks, so that what was found on fewer images is found again in the store.
    """
    images = board.dataset.images if most is None else min(most, board.dataset.images)
    blocks, done = -(-images // board.dataset.block), 0
    while done < blocks:
        done = min(blocks, done + max(1, done // CLOSELY))
        yield replace(board, dataset=replace(board.dataset, images=min(images, done * board.dataset.block)))
