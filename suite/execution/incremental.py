"""Runs a board on growing subsets of its images, for callers that stop once the result is decided."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from purebench.boards.board import Board
from purebench.execution.board_run import JobProgress, run_prepared
from purebench.execution.context import Context, prepare
from purebench.results.merge import merge
from purebench.results.results import DefenseResult

WAIT = 3600.0
"""Seconds to wait for another process that writes to the store; it releases the store between two steps."""
CLOSELY = 8
"""A step is one block, or an eighth of the finished blocks where that is more, because the plan is made anew and the
store is read again at each step."""


@dataclass
class Runner:
    """Runs boards that share images and models, which are loaded once: a board on its first blocks, or its variants.

    Attributes:
        store: the SQLite file.
        device: `cpu`, `cuda` or `cuda:0`.
        workers: the number of processes.
        progress: called after every job.
        retry_errors: whether to run jobs again that ended in an error.
    """

    store: Path
    device: str = "cpu"
    workers: int = 1
    progress: JobProgress = lambda done, total, record: None
    retry_errors: bool = False
    _loaded: Context | None = field(default=None, init=False, repr=False)

    def prepare(self, board: Board) -> None:
        """Load the images and models of a board, for all later calls of `result` on boards that it covers.

        Args:
            board: the board with all images and rows that may be run.

        Raises:
            PurebenchError: as for `prepare`.
        """
        self._loaded = prepare(board, self.device)

    def result(self, board: Board) -> tuple[Context, DefenseResult]:
        """Run a board that has one shown defense; its images and models are loaded if they are not yet.

        Args:
            board: the board.

        Returns:
            The context, and the result of the defense.

        Raises:
            PurebenchError: invalid input.
        """
        if self._loaded is None or not self._loaded.covers(board):
            self.prepare(board)
        assert self._loaded is not None
        context = self._loaded.on(board)
        records = run_prepared(
            board,
            context,
            self.store,
            workers=self.workers,
            wait=WAIT,
            retry_errors=self.retry_errors,
            progress=self.progress,
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


def largest(board: Board, limits: Limits) -> Board:
    """Return the board on all images that the limits allow.

    Args:
        board: the board.
        limits: the limits after which to stop.
    """
    images = board.dataset.images if limits.images is None else min(limits.images, board.dataset.images)
    return replace(board, dataset=replace(board.dataset, images=images))


def steps(board: Board, limits: Limits) -> Iterator[Board]:
    """Yield the board on its first block, then on more blocks, up to all of its images or to a limit.

    The subsets are whole blocks, so that results on fewer images are found in the store again.

    Args:
        board: the board.
        limits: the limits after which to stop.
    """
    began, block = time.monotonic(), board.dataset.block
    most = largest(board, limits).dataset.images
    blocks, done = -(-most // block), 0
    while done < blocks:
        if done and limits.minutes is not None and time.monotonic() - began > 60 * limits.minutes:
            return
        done = min(blocks, done + max(1, done // CLOSELY))
        yield replace(board, dataset=replace(board.dataset, images=min(most, done * block)))
