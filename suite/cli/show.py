"""What a run shows a person: a progress bar, the ranked table, the page, the results as JSON."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from purebench.boards.board import Board
from purebench.boards.parse import parse_board
from purebench.boards.trust import built_in
from purebench.checks.finding import Finding, Result
from purebench.core.errors import PurebenchError, nearest
from purebench.core.registry import Spec, factory
from purebench.core.terminal_output import complain, make_console, printable
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet
from purebench.data.pictures import png, to_bytes
from purebench.execution import board_run
from purebench.records import store
from purebench.records.record import Outcome, Record

if TYPE_CHECKING:
    from purebench.results.results import DefenseResult

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def progress(*, parts: bool = False) -> Iterator[board_run.Progress]:
    """Show a progress bar on a terminal, else a line now and then, so that a log shows the run is alive.

    Each distinct reason of an error is printed once, and at the end how to run those jobs again.

    Args:
        parts: Whether many small runs are watched, whose beginnings and ends are not worth a line each.
    """
    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None)
        last = [0.0]
        reasons: dict[tuple[str, str], int] = {}

        def tell(done: int, total: int, record: Record | None) -> None:
            what = printable(f"{record.defense} · {record.attack}" if record else f"{total - done} jobs to run")
            if record and Outcome.ERRORED in record.outcomes:
                told = (record.defense, record.reason)
                reasons[told] = reasons.get(told, 0) + 1
                if reasons[told] == 1:
                    console.print(Text(f"{what}: {printable(record.reason)}", style="yellow"))
            bar.update(task, completed=done, total=total, description=what)
            if not console.is_terminal:
                now = bar.get_time()
                marked = not parts and (record is None or done == total)
                if marked or now - last[0] > SECONDS_BETWEEN_LINES:
                    print(f"{done}/{total} jobs, {what}", file=sys.stderr, flush=True)
                    last[0] = now

        yield tell
    if reasons:
        jobs = sum(reasons.values())
        complain(f"{jobs} {'job' if jobs == 1 else 'jobs'} ended in an error; --retry-errors runs them again.")


def tell(line: str) -> None:
    """A line on stderr, above the progress bar if there is one."""
    complain(line)


def check_outputs(page: Path | None, results: Path | None, rows: Collection[str] = ()) -> None:
    """Raises PurebenchError for places that cannot be written, before hours are spent on what goes there.

    rows: the defenses whose results will be written; files of others in the folder must be results of this version.
    """
    if page is not None and page.is_dir():
        raise PurebenchError(f"--page: expected a file to write, but {page} is a folder; name a file in it.")
    if results is not None and results.exists() and not results.is_dir():
        raise PurebenchError(f"--results: expected a folder, but {results} is a file; name another.")
    if results is not None and results.is_dir():
        from purebench.results.export import check_others

        check_others(results, rows)


def finish(
    board: Board,
    records: Sequence[Record],
    page: Path | None,
    results: Path | None,
    data: ImageSet | None,
    order: Sequence[int] | Array,
    left_out: Collection[str] = (),
) -> list[DefenseResult]:
    """Write the results and the page where asked, then print the ranking.

    Args:
        board: As it was run.
        records: What the store has of it.
        page: A file for the page, None for none.
        results: A folder for the results, None for none.
        data: Clean images, None where they are not at hand: the page then has none.
        order: Their positions in the data set.
        left_out: Rows whose files are not on this machine.

    Returns:
        What was found of each row.
    """
    from purebench.results import export, merge

    found = merge.merge(board, records)
    if results is not None:
        export.export_results(results, found)
    pictures = {} if data is None or page is None else originals(data, order, found)
    present(board, found, page, () if data is None else data.classes, pictures, left_out, results)
    return found


def present(
    board: Board,
    found: Sequence[DefenseResult],
    page: Path | None,
    classes: Sequence[str],
    pictures: Mapping[int, str],
    left_out: Collection[str] = (),
    results: Path | None = None,
) -> None:
    """Write the page where asked, then print the table and the places of what was written."""
    from purebench.leaderboards import site, terminal

    if page is not None:
        site.write_page(page, site.render(board, found, classes, pictures, left_out))
    terminal.print_board(board, found, left_out=left_out)
    for what, place in (("results", results), ("page", page)):
        if place is not None:
            print(printable(f"{what}: {place}"))


def stored(path: Path, name: str | None, page: Path | None, results: Path | None) -> None:
    """`purebench show`: the boards of a store, or one of them. Runs no code that the store names."""
    with store.reading(path) as saved:
        plans = saved.plans()
        if name is None:
            for known, (_, keys) in plans.items():
                done = sum(saved.has(key) for key in keys)
                print(printable(f"{known}: {done} of {len(keys)} jobs"))
            return
    board, records = from_store(path, name)
    data = at_hand(board) if page is not None else None
    finish(board, records, page, results, data, range(0 if data is None else len(data)))


def at_hand(board: Board) -> ImageSet | None:
    """The data set of a board that came from somewhere: None unless it is built in and on this machine."""
    use = board.dataset.use
    if not built_in("datasets", use):
        return None
    takes = signature(factory("datasets", use.name)[0]).parameters
    offline = {"download": False} if "download" in takes else {}
    try:
        data = load_images(Spec(use.name, {**use.params, **offline}))
    except PurebenchError as error:
        complain(f"the page has no original images: {error}")
        return None
    return data


def from_store(path: Path, name: str) -> tuple[Board, list[Record]]:
    """A board as it was last run into a store, and its records so far. Raises PurebenchError for one that is not there.

    name: of the board.
    """
    with store.reading(path) as saved:
        plans = saved.plans()
        if name not in plans:
            raise PurebenchError(f"{path}: the board {name!r} is not in this store; {nearest(name, plans)}")
        definition, keys = plans[name]
        try:
            board = replace(parse_board(definition), origin=saved.origin(name))
        except PurebenchError as error:
            raise PurebenchError(f"{path}: the plan of {name!r} is damaged: {error}") from error
        return board, [record for key in keys if (record := saved.get(key)) is not None]


def findings(title: str, found: Sequence[Finding]) -> None:
    """`purebench check`: a line for each check, with its sentence."""
    colours = {Result.HOLDS: "green", Result.FAILS: "red", Result.UNDECIDED: "yellow", Result.NOT_APPLICABLE: "dim"}
    table = Table("result", "check", "what was seen", title=title, title_justify="left", box=SIMPLE_HEAD)
    for one in found:
        table.add_row(Text(one.result, style=colours[one.result]), Text(one.name), Text(one.sentence))
    make_console().print(table)


def originals(data: ImageSet, order: Sequence[int] | Array, found: Sequence[DefenseResult]) -> dict[int, str]:
    """The clean images that the page shows, as PNG files in base64, by their position in the dataset.

    data: clean images; order: their positions in the data set.
    """
    shown = {picture.image for result in found for attack in result.attacks for picture in attack.pictures}
    rows = {int(index): row for row, index in enumerate(order) if int(index) in shown}
    return {index: png(to_bytes(data.take([row]).floats()[0])) for index, row in rows.items()}
