"""Writes and prints a board: the results as JSON, the page, the ranked table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from purebench.boards.board import Board
from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import printable
from purebench.data.datasets import Array, ImageSet
from purebench.leaderboards import terminal
from purebench.records.record import Record
from purebench.results import merge
from purebench.results.files import export
from purebench.results.files.challenge_history import read_history
from purebench.results.files.companions import KINDS, export_companions, load_companions
from purebench.results.files.stored_board import originals
from purebench.results.files.verdicts import RowBadge, load_badges
from purebench.results.grading.gathering import Companions, declared_controls, joined
from purebench.results.results import DefenseResult


def check_outputs(page: Path | None, results: Path | None, rows: Collection[str] = ()) -> None:
    """Check that the page and the results can be written, before the evaluation, which takes hours.

    Args:
        page: A file for the page, None for none.
        results: A folder for the results, None for none. Files of other defenses in it must be results of this version.
        rows: Names of the defenses whose results will be written.

    Raises:
        PurebenchError: If something cannot be written.
    """
    if page is not None and page.is_dir():
        raise PurebenchError(f"--page: expected a file to write, but {page} is a folder; name a file in it.")
    if results is not None and results.exists() and not results.is_dir():
        raise PurebenchError(f"--results: expected a folder, but {results} is a file; name another.")
    if results is not None and results.is_dir():
        export.check_others(results, rows)
        for kind in KINDS:
            export.check_others(results / kind, ())


def finish(
    board: Board,
    records: Sequence[Record],
    page: Path | None,
    results: Path | None,
    data: ImageSet | None,
    order: Sequence[int] | Array,
    left_out: Collection[str] = (),
    companions: Companions | None = None,
) -> list[DefenseResult]:
    """Write the results and the page if requested, then print the ranking.

    Args:
        board: As it was run.
        records: Its records in the store.
        page: A file for the page, None for none.
        results: A folder for the results, None for none.
        data: Clean images, None where they are not available: the page then has none.
        order: Their positions in the data set.
        left_out: Rows whose files are not on this machine.
        companions: Results of the boards derived from this one, such as its controls; None for none.

    Returns:
        The results of each row, with the bounds of accepted challenges in the folder of results.
    """
    found = merge.merge(board, records)
    if results is not None:  # the folder may have evidence about other rows, and about these on another machine
        declared = declared_controls(board)
        companions = joined(companions or {}, load_companions(results, found))
        export.export_results(results, found, companions, declared=declared, origin=board.origin)
        export_companions(results, companions, declared)
        history = read_history(results)
        found = [export.with_challenges(one, history) for one in found]
    pictures = {} if data is None or page is None else originals(data, order, found)
    classes = () if data is None else data.classes
    badges = load_badges(results, found)
    present(board, found, page, classes, pictures, left_out, results, companions, badges)
    return found


def present(
    board: Board,
    found: Sequence[DefenseResult],
    page: Path | None,
    classes: Sequence[str],
    pictures: Mapping[int, str],
    left_out: Collection[str] = (),
    results: Path | None = None,
    companions: Companions | None = None,
    badges: Mapping[str, RowBadge] | None = None,
) -> None:
    """Write the page if requested, then print the table and the paths of the files written.

    Args:
        board: As it was run.
        found: Results of each row.
        page: A file for the page, None for none.
        classes: Names of the classes.
        pictures: Base64 PNG of clean images by their position in the data set.
        left_out: Rows whose files are not on this machine.
        results: The folder that the results were written to, None for none.
        companions: Results of the boards derived from this one, such as its controls; None for none.
        badges: What is known about the reproduction of the rows (`load_badges`); rows without an entry are unverified.
    """
    if page is not None:
        from purebench.leaderboards import page as board_page  # imports the template engine

        html = board_page.render(board, found, classes, pictures, left_out, companions, badges)
        board_page.write_page(page, html)
    terminal.print_board(board, found, left_out=left_out, companions=companions, badges=badges)
    for what, place in (("results", results), ("page", page)):
        if place is not None:
            print(printable(f"{what}: {place}"))
