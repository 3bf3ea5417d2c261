"""What a run shows a person: a progress bar, the ranked table, the page, the results as JSON."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
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

from purebench import registry, running, store
from purebench.board import Board
from purebench.board_file import parse_board
from purebench.checks.finding import Finding, Result
from purebench.errors import PurebenchError, nearest
from purebench.pictures import png
from purebench.records import Outcome, Record

if TYPE_CHECKING:
    from purebench.leaderboards.results import DefenseResult

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def progress(*, parts: bool = False) -> Iterator[running.Progress]:
    """A progress bar on a terminal, else a line now and then, so that a log shows the run is alive.

    parts: what is watched is many small runs, whose beginnings and ends are not worth a line each.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None)
        last = [0.0]

        def tell(done: int, total: int, record: Record | None) -> None:
            what = f"{record.defense} · {record.attack}" if record else f"{total - done} jobs to run"
            if record and Outcome.ERRORED in record.outcomes:
                console.print(Text(f"{record.defense} · {record.attack}: {record.reason}", style="yellow"))
            bar.update(task, completed=done, total=total, description=what)
            if not console.is_terminal:
                now = bar.get_time()
                marked = not parts and (record is None or done == total)
                if marked or now - last[0] > SECONDS_BETWEEN_LINES:
                    print(f"{done}/{total} jobs, {what}", file=sys.stderr, flush=True)
                    last[0] = now

        yield tell


def tell(line: str) -> None:
    """A line on stderr, above the progress bar if there is one."""
    print(line, file=sys.stderr, flush=True)


def check_outputs(page: Path | None, results: Path | None) -> None:
    """Raises PurebenchError for places that cannot be written, before hours are spent on what goes there."""
    if page is not None and page.is_dir():
        raise PurebenchError(f"--page: expected a file to write, but {page} is a folder; name a file in it.")
    if results is not None and results.exists() and not results.is_dir():
        raise PurebenchError(f"--results: expected a folder, but {results} is a file; name another.")


def finish(
    board: Board,
    records: Sequence[Record],
    page: Path | None,
    results: Path | None,
    classes: tuple[str, ...],
    left_out: Collection[str] = (),
) -> list[DefenseResult]:
    """Prints the ranking; writes the page and the results where asked; what was found of each row.

    left_out: rows whose files are not here.
    """
    from purebench.leaderboards import export, merge, site, terminal

    found = merge.merge(board, records)
    terminal.print_board(board, found, left_out=left_out)
    if results is not None:
        export.export_results(results, found)
        print(f"results: {results}")
    if page is not None:
        site.write_page(page, site.render(board, found, classes, originals(board, found), left_out))
        print(f"page: {page}")
    return found


def stored(path: Path, name: str | None, page: Path | None, results: Path | None) -> None:
    """`purebench show`: the boards of a store, or one of them."""
    with store.reading(path) as saved:
        plans = saved.plans()
        if name is None:
            for known, (_, keys) in plans.items():
                done = sum(saved.has(key) for key in keys)
                print(f"{known}: {done} of {len(keys)} jobs")
            return
    board, records = from_store(path, name)
    finish(board, records, page, results, registry.create("datasets", board.dataset.use).classes)


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
            board = parse_board(definition)
        except PurebenchError as error:
            raise PurebenchError(f"{path}: the plan of {name!r} is damaged: {error}") from error
        return board, [record for key in keys if (record := saved.get(key)) is not None]


def findings(title: str, found: Sequence[Finding]) -> None:
    """`purebench check`: a line for each check, with its sentence."""
    colours = {Result.HOLDS: "green", Result.FAILS: "red", Result.UNDECIDED: "yellow", Result.NOT_APPLICABLE: "dim"}
    table = Table("result", "check", "what was seen", title=title, title_justify="left", box=SIMPLE_HEAD)
    for one in found:
        table.add_row(Text(one.result, style=colours[one.result]), Text(one.name), Text(one.sentence))
    Console().print(table)


def originals(board: Board, found: Sequence[DefenseResult]) -> dict[int, str]:
    """The clean images that the page shows, as PNG files in base64, by their position in the dataset."""
    data = registry.create("datasets", board.dataset.use)
    shown = {picture.image for result in found for attack in result.attacks for picture in attack.pictures}
    return {index: png(data.images[index]) for index in sorted(shown) if index < len(data)}
