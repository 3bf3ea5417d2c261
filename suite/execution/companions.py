"""Runs the boards that are derived from a board beside it: its control rows, their truth, and the ladder of effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.derived.controls_board import companion_name, controls_board, references_board
from purebench.boards.derived.effort_board import EFFORT, effort_board
from purebench.core.errors import PurebenchError
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import JobProgress, run_board
from purebench.records.record import Record

Watch = Callable[[Board], JobProgress]
"""Returns the progress of one derived board."""


def companion_boards(board: Board) -> list[Board]:
    """Return the boards that are derived from a board and run after it."""
    found = (controls_board(board), None if board.effort is None else effort_board(board))
    return [derived for derived in found if derived is not None]


def evaluated_part(board: Board, records: Sequence[Record]) -> Board:
    """Return the board with the images that were evaluated, where a stopping rule or a budget has ended the run.

    Args:
        board: the board.
        records: the records of its run.
    """
    blocks = 1 + max((record.block for record in records), default=board.most_blocks - 1)
    return replace(board, dataset=replace(board.dataset, images=board.images_of(blocks)), stop=None)


def run_companions(
    board: Board,
    path: Path,
    *,
    compute: Compute | None = None,
    wait: float = 0.0,
    retry_errors: bool = False,
    progress: JobProgress = lambda done, total, record: None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Run the missing jobs of the boards derived from a board, into the store of the board.

    Args:
        board: the board.
        path: the store.
        compute: where the jobs run; None for the CPU, one process per core.
        wait: seconds to wait for another process that writes to the store.
        retry_errors: whether to run ERRORED jobs again.
        progress: called at the start and after each job.
        tell: called with one line for each warning.

    Raises:
        PurebenchError: invalid input, before anything is written.
    """
    ladder = companion_name(board.name, EFFORT)
    run = partial(run_board, path=path, compute=compute or Compute(), wait=wait, retry_errors=retry_errors)
    for derived in companion_boards(board):
        try:
            # a run of some rows keeps the ladders of the others, whose grades depend on them
            _, records = run(derived, keep_rows=derived.name == ladder, progress=progress, tell=tell)
            if (measured := references_board(board, _references(records))) is not None:
                run(measured, progress=progress, tell=tell)
        except PurebenchError as error:
            raise PurebenchError(f"{derived.name}: {error}") from error


def _references(records: Sequence[Record]) -> list[str]:
    """Return the specs of the defenses on which the truth of controls is measured."""
    found = (record.control.reference for record in records if record.control is not None)
    return sorted({reference for reference in found if reference})
