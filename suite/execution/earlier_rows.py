"""Finds rows of earlier runs of a board that a run of other rows must not hide.

A store has one plan a board, that of its last run. A run of some rows keeps those rows of the plan before it whose jobs
are all in the store under the keys that they would have today, so that stale results are left out.
"""

from __future__ import annotations

from dataclasses import replace

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import plan
from purebench.boards.parse import parse_board
from purebench.boards.selection import with_rows
from purebench.core import registry
from purebench.core.defense import fingerprint
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, build_defense
from purebench.records.provenance import versions
from purebench.records.store import Store


def with_earlier_rows(board: Board, context: Context, saved: Store) -> tuple[Board, list[str]]:
    """Add the complete and current rows of the last plan to a board.

    A board that may stop early is returned as it is, because its end depends on its rows.

    Args:
        board: the board of this run.
        context: the same, prepared.
        saved: the store.

    Returns:
        The board with further rows, and the keys of their jobs.
    """
    earlier = _last(board, saved) if board.stop is None else None
    if earlier is None:
        return board, []
    shown, keys = {row.name: row for row in board.shown}, list[str]()
    rows: list[DefenseChoice] = []
    for row in earlier.shown:
        found = None if row.name in shown else _current(board, row, context, saved)
        keys += found or []
        if row.name in shown:
            rows.append(shown.pop(row.name))
        elif found is not None:
            rows.append(row)
    return with_rows(board, [*rows, *shown.values()]), keys


def _last(board: Board, saved: Store) -> Board | None:
    """Return the board of the last plan if it differs from this one in its rows only, else None."""
    found = saved.plans().get(board.name)
    if found is None:
        return None
    try:
        earlier = parse_board(found[0])
    except PurebenchError:  # of another version
        return None
    same = replace(earlier, defenses=board.defenses, title=board.title, about=board.about)
    return earlier if same == board else None


def _current(board: Board, row: DefenseChoice, context: Context, saved: Store) -> list[str] | None:
    """Return the keys of a row's jobs; None if one is not in the store, or the row cannot be built today."""
    alone = with_rows(board, [row])
    try:
        prints = {one.name: _fingerprint(one, context) for one in alone.defenses}
        hashes = [context.block(number).hash for number in range(board.blocks)]
        jobs = plan(alone, hashes, prints, versions()["purebench"], code_of_board(alone))
    except Exception:  # its file may be gone or broken, and another row is being run
        return None
    keys = [job.key for job in jobs]
    return keys if all(saved.has(key) for key in keys) else None


def _fingerprint(row: DefenseChoice, context: Context) -> str:
    """Return the hash of a row's weights; the row is built for this and then discarded."""
    if row.name in context.fingerprints:
        return context.fingerprints[row.name]
    classifier = registry.create("classifiers", context.board.classifier)
    classifier.eval().requires_grad_(False)
    return fingerprint(build_defense(row, context.board, classifier))
