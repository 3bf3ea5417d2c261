"""Finds rows of earlier runs of a board that a run of other rows must not hide.

A store has one plan a board, that of its last run. A run of some rows keeps those rows of the runs before it whose jobs
are all in the store under the keys that they would have today, so that stale results are left out. The plan also
contains the rows that are left out, with the settings of their run, so that `show` can name them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.code_identity import code_of_board
from purebench.boards.derived.growing_effort import ungrown
from purebench.boards.jobs import AnyJob, plan
from purebench.boards.parse import parse_board
from purebench.boards.selection import with_rows
from purebench.boards.view_weights import view_weights
from purebench.core import registry
from purebench.core.defense import Defense, fingerprint
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, build_defense
from purebench.execution.contract.compilation import probe_defense
from purebench.records.cells import MOST_UNLISTED
from purebench.records.provenance import versions
from purebench.records.store import Store


@dataclass(frozen=True)
class Listing:
    """The rows that `show` lists after a run, and those of earlier runs that it does not list.

    Attributes:
        board: the board of the run, with the rows of earlier runs that are complete and current.
        jobs: the jobs of these further rows.
        unlisted: the boards of earlier runs, the latest first, with those of their rows that are not listed.
    """

    board: Board
    jobs: list[AnyJob] = field(default_factory=list)
    unlisted: list[Board] = field(default_factory=list)

    @property
    def plain_unlisted(self) -> list[tuple[dict[str, Any], str]]:
        """`unlisted` as the store keeps it: plain values and origins."""
        return [(board.to_dict(), board.origin) for board in self.unlisted[:MOST_UNLISTED]]


def with_earlier_rows(board: Board, context: Context, saved: Store) -> Listing:
    """Add the complete and current rows of earlier runs to a board.

    A row is added only if its run had the settings of this one. A board that may stop early gets no further rows,
    because its end depends on its rows.

    Args:
        board: the board of this run.
        context: the same, prepared.
        saved: the store.

    Returns:
        The rows that are listed, and those that are not. A row that this run or a later one has evaluated on at least
        as many images, with otherwise the same settings, is in neither.
    """
    shown = {row.name: row for row in board.shown}
    rows: dict[str, DefenseChoice] = {}
    jobs: list[AnyJob] = []
    left: list[tuple[Board, list[DefenseChoice]]] = []
    for earlier in _earlier(board, saved):
        same = board.stop is None and _on(earlier, board) == board
        rest: list[DefenseChoice] = []
        for row in earlier.shown:
            if same and (row.name in shown or row.name in rows):
                rows.setdefault(row.name, shown.get(row.name, row))
            elif same and (found := _current(board, row, context, saved)) is not None:
                rows[row.name] = row
                jobs += found
            else:
                rest.append(row)
        left.append((earlier, rest))
    whole = with_rows(board, list((rows | shown).values()))
    return Listing(whole, jobs, _not_covered(whole, left))


def _not_covered(whole: Board, left: Sequence[tuple[Board, Sequence[DefenseChoice]]]) -> list[Board]:
    """Return the earlier boards with those of their rows that neither the whole board nor a later one covers."""
    found: list[Board] = []
    for earlier, rows in left:
        kept = [row for row in rows if not any(_covers(other, earlier, row) for other in (whole, *found))]
        if kept:
            found.append(with_rows(earlier, kept))
    return found


def _earlier(board: Board, saved: Store) -> Iterator[Board]:
    """Yield the board of the last plan, then those of earlier runs; without those of another version."""
    plans = saved.plans()
    if board.name not in plans:
        return
    each = [(plans[board.name][0], saved.origin(board.name)), *saved.unlisted(board.name)]
    for definition, origin in each:
        try:
            yield replace(parse_board(definition), origin=origin)
        except PurebenchError:
            continue


def _on(earlier: Board, board: Board) -> Board:
    """Return an earlier board with the rows and texts of another one: they are equal if their settings are.

    Boards that differ only in the effort that `effort: auto` reached have the same settings.
    """
    same = ungrown(earlier).attacks == ungrown(board).attacks
    attacks = board.attacks if same else earlier.attacks
    return replace(earlier, attacks=attacks, defenses=board.defenses, title=board.title, about=board.about)


def _covers(later: Board, earlier: Board, row: DefenseChoice) -> bool:
    """Return whether a later run has the row on at least as many images, with otherwise the same settings."""
    alike = replace(_on(earlier, later), dataset=later.dataset) == later and (
        replace(earlier.dataset, images=later.dataset.images) == later.dataset
    )
    return alike and later.dataset.images >= earlier.dataset.images and row in later.shown


def _current(board: Board, row: DefenseChoice, context: Context, saved: Store) -> list[AnyJob] | None:
    """Return a row's jobs; None if one is not in the store, or the row cannot be built today."""
    alone = with_rows(board, [row])
    try:
        made = {one.name: one for one in alone.defenses}
        prints = {name: _fingerprint(one, context) for name, one in made.items()}
        hashes = [context.block(number).hash for number in range(board.blocks)]
        weights = view_weights(alone, lambda name: _built(made[name], context))
        compiled = {name: _compiled(one, alone, context) for name, one in made.items()} if alone.compile else {}
        jobs = plan(alone, hashes, prints, versions()["purebench"], code_of_board(alone), weights, compiled)
    except Exception:  # its file may be gone or broken, and another row is being run
        return None
    return jobs if all(saved.has(job.key) for job in jobs) else None


def _fingerprint(row: DefenseChoice, context: Context) -> str:
    """Return the hash of a row's weights; the row is built for this and then discarded."""
    if row.name in context.fingerprints:
        return context.fingerprints[row.name]
    return fingerprint(_built(row, context))


def _compiled(row: DefenseChoice, board: Board, context: Context) -> tuple[str, ...]:
    """Return the names of a row's compiled networks; the row is built for this and then discarded."""
    return probe_defense(board, context, lambda: _built(row, context).to(context.device)).networks.names


def _built(row: DefenseChoice, context: Context) -> Defense:
    """Return the defense of a row on its own classifier."""
    classifier = registry.create("classifiers", context.board.classifier)
    classifier.eval().requires_grad_(False)
    return build_defense(row, context.board, classifier)
