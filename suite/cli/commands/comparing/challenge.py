"""The command `purebench challenge`: submits adversarial examples to the standing challenge of a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import OneDeviceOption, StoreOption, TrustOption
from purebench.core.errors import PurebenchError

if TYPE_CHECKING:
    from purebench.results.files.challenge_history import Decided, Submitted


def challenge(
    board: Annotated[str, typer.Argument(help="The board's name in the store, or the path of its board.yaml.")],
    row: Annotated[str, typer.Argument(help="The name of the row, as in the folder of results.")],
    attack: Annotated[
        Path | None,
        typer.Argument(
            help="An npz file with `adversarial` or `images` ([N,C,H,W] in [0,1]) and `positions` in the data set; "
            "without it, the history of the row's challenge is shown."
        ),
    ] = None,
    author: Annotated[str, typer.Option(help="Your name, which is kept in the history.")] = "",
    note: Annotated[str, typer.Option(help="A remark, such as the name of the attack.")] = "",
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of results with the history. Default: the folder `results` beside the board.yaml."),
    ] = None,
    store: StoreOption = None,
    device: OneDeviceOption = "cpu",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another submission that is being evaluated.", min=0)
    ] = 600,
    out: Annotated[
        Path | None, typer.Option(help="Write the history of the row to this file: .md, .tex, .csv or .json.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Submit adversarial examples to the standing challenge of a row.

    They lower its best known accuracy if they beat the best known examples on fresh draws. The exit code is 0 then, and
    1 if they do not.

    Example: purebench challenge fashion-quick vae attack.npz --author "A. Name" --results my-results
    """
    from purebench.cli.challenge_run import challenge as submit
    from purebench.cli.challenge_run import find_row, history_of
    from purebench.core.files.places import default_store
    from purebench.core.terminal_output import make_console
    from purebench.leaderboards.evidence.challenge_table import FORMATS
    from purebench.results.files.export import write_files

    if out is not None and out.suffix not in FORMATS:
        raise PurebenchError(f"--out: expected a file {', '.join(FORMATS)}, but got {out}.")
    if attack is not None and not author.strip():
        raise PurebenchError("--author: expected your name, which is kept in the history.")
    folder = _results(board) if results is None else results
    console = make_console()
    decision = None
    if attack is not None:
        found = find_row(board, row, store or default_store(), folder)
        with make_console(stderr=True).status(f"{row}: fresh draws at the submitted and the incumbent examples"):
            event, decision = submit(
                found, attack, author=author.strip(), note=note.strip(), device=device, trust=trust, wait=wait
            )
        for line in _told(event, decision):
            console.print(line, markup=False, highlight=False)
    submissions = history_of(folder, row)
    if decision is None:
        _show(submissions, row)
    if out is not None:
        write_files({out: FORMATS[out.suffix](submissions)})
        console.print(f"history: {out}", markup=False, highlight=False)
    if decision is not None and not decision.accepted:
        raise typer.Exit(1)


def _results(board: str) -> Path:
    from purebench.boards.bundled import find_board

    return find_board(board).parent / "results"


def _told(event: Submitted, decision: Decided) -> list[str]:
    """Return the lines about a decision."""
    from purebench.statistics.sequential.challenge import ALPHA

    before = decision.before.estimate.percent()
    lines = [
        f"submission {event.number} to {event.row} by {event.author}, tested at the level {event.level:.2g} "
        f"({ALPHA:g} · 6/(π² k²))",
        f"picked on draws of their own: {decision.picked} of {event.images} submitted examples",
        f"pairs of fresh draws: {decision.better:,} for the submission, {decision.worse:,} against it, "
        f"p = {decision.p_value:.2g}",
    ]
    if decision.after is None:
        return [*lines, f"not accepted: the best known accuracy stays {before}"]
    after = decision.after.estimate
    return [*lines, f"accepted: the best known accuracy is {after.percent()}, on draws of its own (before: {before})"]


def _show(submissions: list[tuple[Submitted, Decided | None]], row: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from purebench.core.terminal_output import make_console
    from purebench.leaderboards.evidence.challenge_table import COLUMNS, rows

    console = make_console()
    if not submissions:
        console.print(f"{row}: no submission yet", markup=False, highlight=False)
        return
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for cells in rows(submissions):
        table.add_row(*(Text(one) for one in cells))
    console.print(table)
