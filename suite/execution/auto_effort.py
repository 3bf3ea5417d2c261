"""Runs a board with `effort: auto`: the attacks are doubled in effort until the rows have converged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.derived.growing_effort import grown
from purebench.core.errors import PurebenchError
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import JobProgress, run_board
from purebench.execution.context import Context
from purebench.records.record import Record
from purebench.results.grading.convergence import LEVEL, MARGIN
from purebench.results.grading.images_needed import least_images
from purebench.results.grading.unfinished_rows import unfinished
from purebench.results.merge import merge
from purebench.results.results import DefenseResult


def run_at_effort(
    board: Board,
    path: Path,
    *,
    compute: Compute | None = None,
    budget: float | None = None,
    wait: float = 0.0,
    retry_errors: bool = False,
    keep_rows: bool = False,
    progress: JobProgress = lambda done, total, record: None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Board, Context, list[Record]]:
    """Run a board; with `effort: auto`, with attacks of rising effort until its rows have converged.

    All rows get the same attacks, so that they can be ranked. An interrupted run continues from the store: each level
    uses the records of the levels before it.

    Args:
        board: the board.
        path: the store.
        compute: where the jobs run; None for the CPU, one process per core.
        budget: seconds after which no further block is started; None for no limit.
        wait: seconds to wait for another process that writes to the store.
        retry_errors: whether to run ERRORED jobs again.
        keep_rows: whether `show` and `export` go on to list the complete rows of the board's last run.
        progress: called at the start of each level and after each job.
        tell: called with one line for each warning, once for all levels, and when the effort is doubled.

    Returns:
        The board that was run, with the attacks that were added; its context; and its records.

    Raises:
        PurebenchError: invalid input, before anything is written.
    """
    auto = board.effort is not None and board.effort.auto
    if auto and (board.stop is not None or budget is not None):
        raise PurebenchError(
            "effort: expected no stopping rule and no budget of time beside auto, because the rows are compared on the "
            "same images at every effort, but there is one; remove stop, or --until, --max-images and --budget."
        )
    images, least = board.images_of(board.most_blocks), least_images(MARGIN, LEVEL / 2)
    if auto and images < least:
        tell(
            f"effort: no effort shows that a row has converged on {images} images, because at least {least} are needed "
            f"to exclude a difference of {100 * MARGIN:g} points: the attacks are doubled until the budget ends; use "
            f"more images (--images {least})"
        )
    levels: list[list[DefenseResult]] = []
    once = _once(tell)
    while True:
        part = grown(board, len(levels))
        context, records = run_board(
            part,
            path,
            compute=compute or Compute(),
            budget=budget,
            wait=wait,
            retry_errors=retry_errors,
            keep_rows=keep_rows,
            progress=progress,
            tell=once,
        )
        if not auto:
            return part, context, records
        levels.append(merge(part, records))
        if not (names := unfinished(board, levels)):
            return part, context, records
        tell(f"effort: the attacks are doubled to {2 ** len(levels)} times the board's, because of {', '.join(names)}")


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes each line on once, because every level has the warnings of the board."""
    told: set[str] = set()

    def once(line: str) -> None:
        if line not in told:
            told.add(line)
            tell(line)

    return once
