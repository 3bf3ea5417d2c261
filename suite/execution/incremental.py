"""A board on more and more images, for whoever stops as soon as enough is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from purebench.boards.board import Board
from purebench.execution.board_run import Progress, run_board
from purebench.execution.context import Context
from purebench.results.merge import merge
from purebench.results.results import DefenseResult

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


@dataclass(frozen=True)
class Limits:
    """Where to stop undecided. images: of the board, None for all. minutes: no step is begun after so many."""

    images: int | None = None
    minutes: float | None = None


def steps(board: Board, limits: Limits) -> Iterator[Board]:
    """The board on its first block, then on more, up to all of its images or to a limit.

    Whole blocks, so that what was found on fewer images is found again in the store.
    """
    began, dataset = time.monotonic(), board.dataset
    images = dataset.images if limits.images is None else min(limits.images, dataset.images)
    blocks, done = -(-images // dataset.block), 0
    while done < blocks:
        if done and limits.minutes is not None and time.monotonic() - began > 60 * limits.minutes:
            return
        done = min(blocks, done + max(1, done // CLOSELY))
        yield replace(board, dataset=replace(dataset, images=min(images, done * dataset.block)))
