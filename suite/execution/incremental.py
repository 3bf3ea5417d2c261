"""Runs a board on growing subsets of its images, for callers that stop once the result is decided."""

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
"""Seconds to wait for another process that writes to the store; it releases the store between two steps."""
CLOSELY = 8
"""A step is one block, or an eighth of the finished blocks where that is more, because models are loaded again for each
step."""


@dataclass(frozen=True)
class Run:
    """The store, the device and the workers with which boards are run.

    Attributes:
        store: the SQLite file.
        device: `cpu`, `cuda` or `cuda:0`.
        workers: the number of processes.
        progress: called after every job.
    """

    store: Path
    device: str = "cpu"
    workers: int = 1
    progress: Progress = lambda done, total, record: None


def found_by(run: Run, board: Board) -> tuple[Context, DefenseResult]:
    """Run a board that has one shown defense.

    Args:
        run: where and how to run it.
        board: the board.

    Returns:
        The context, and the result of the defense.

    Raises:
        PurebenchError: invalid input.
    """
    context, records = run_board(
        board, run.store, device=run.device, workers=run.workers, wait=WAIT, progress=run.progress
    )
    (found,) = merge(context.board, records)
    return context, found


@dataclass(frozen=True)
class Limits:
    """Limits after which to stop undecided.

    Attributes:
        images: the number of images of the board, None for all.
        minutes: no step is started after this time; None for no limit.
    """

    images: int | None = None
    minutes: float | None = None


def steps(board: Board, limits: Limits) -> Iterator[Board]:
    """Yield the board on its first block, then on more blocks, up to all of its images or to a limit.

    The subsets are whole blocks, so that results on fewer images are found in the store again.

    Args:
        board: the board.
        limits: the limits after which to stop.
    """
    began, dataset = time.monotonic(), board.dataset
    images = dataset.images if limits.images is None else min(limits.images, dataset.images)
    blocks, done = -(-images // dataset.block), 0
    while done < blocks:
        if done and limits.minutes is not None and time.monotonic() - began > 60 * limits.minutes:
            return
        done = min(blocks, done + max(1, done // CLOSELY))
        yield replace(board, dataset=replace(dataset, images=min(images, done * dataset.block)))
