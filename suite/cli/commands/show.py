"""The command `purebench show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from purebench.cli.options import StoreOption
from purebench.core.files.places import default_store


def show(
    board: Annotated[
        str | None,
        typer.Argument(
            help="Name of a board, or the path of its board.yaml; without it, the boards in the store are listed."
        ),
    ] = None,
    store: StoreOption = None,
    page: Annotated[Path | None, typer.Option(help="Write the board's page to this file.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="A folder. If a board is named, its results are written there as JSON. If neither a board "
            "nor --store is given, the results in it are shown, without a store, images or models."
        ),
    ] = None,
) -> None:
    """Show the contents of a store or a folder of results: its boards, or the ranking of one, also during a run.

    Safe on a store from someone else: none of the Python files that it names are run.

    Example: purebench show fashion-quick

    Example: purebench show --results my-results --page board.html
    """
    from purebench.cli.output.result_files import show_results
    from purebench.leaderboards.output import check_outputs

    if board is None and store is None and results is not None:
        show_results(results, page)
        return
    check_outputs(page, results)
    print_stored(store or default_store(), board, page, results)


def print_stored(path: Path, name: str | None, page: Path | None, results: Path | None) -> None:
    """List the boards of a store with their finished jobs; with a name, print the ranking of that board.

    None of the defense, attack and data-set files that a stored board names are imported, so a store from another
    person is safe to open.

    Args:
        path: The store.
        name: Name of the board or path of its board.yaml, None for a list of all.
        page: A file for the page, None for none.
        results: A folder for the results, None for none.
    """
    from purebench.core.compute.memory import collector_paused, keep_freed_memory

    keep_freed_memory()
    with collector_paused():  # the records, millions of objects, are released before it resumes
        _print_stored(path, name, page, results)


def _print_stored(path: Path, name: str | None, page: Path | None, results: Path | None) -> None:
    from purebench.boards.selection import stored_name
    from purebench.core.terminal_output import printable
    from purebench.leaderboards.output import finish
    from purebench.records import store
    from purebench.results.files.companions import companions_in_store
    from purebench.results.files.stored_board import at_hand, from_store, unlisted

    with store.reading(path) as saved:
        plans = saved.plans()
        if name is None:
            for known, (_, keys) in plans.items():
                done = sum(saved.has(key) for key in keys)
                more = _of_other_settings([plain for plain, _ in saved.unlisted(known)])
                print(printable(f"{known}: {done} of {len(keys)} jobs{more}{_made_by(known, plans)}"))
            return
    name = stored_name(name)
    board, records = from_store(path, name)
    data = at_hand(board) if page is not None else None
    companions = companions_in_store(path, board)
    finish(board, records, page, results, data, range(0 if data is None else len(data)), companions=companions)
    for line in unlisted(path, name):  # on stdout, because they are contents of the store too
        print(printable(line))


def _of_other_settings(definitions: Sequence[Mapping[str, Any]]) -> str:
    """Return a remark on the rows of earlier runs of a board that its last run hides; "" without such rows."""
    count = 0
    for plain in definitions:
        rows, sources = plain.get("defenses"), plain.get("only_sources", ())
        count += len([row for row in rows if row not in sources]) if isinstance(rows, Mapping) else 0
    return f"; {count} {'row' if count == 1 else 'rows'} of other settings" if count else ""


def _made_by(name: str, plans: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]]) -> str:
    """Return a remark on a board that `purebench check` made, with its radius in the units of the board's own."""
    from purebench.checks.attack_variants import CHECKS, in_units

    own, _, radius = name.partition("@")
    if not own.removesuffix("-steps").endswith(CHECKS):
        return ""
    threat, usual = (plans[board][0].get("threat") if board in plans else None for board in (name, own))
    at = threat.get("radius") if isinstance(threat, dict) else None
    like = usual.get("radius") if isinstance(usual, dict) else None
    if not radius or not isinstance(at, int | float):
        return " (made by purebench check)"
    return f" (made by purebench check, at radius {in_units(at, str(like))})"
