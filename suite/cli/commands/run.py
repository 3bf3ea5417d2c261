"""The command `purebench run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import StoreOption, TrustOption
from purebench.core.files.places import default_store


def run(
    board: Annotated[
        str | None, typer.Argument(help="A bundled board (purebench list boards) or the path of a board.yaml.")
    ] = None,
    named: Annotated[str | None, typer.Option("--board", help="The board, where one would rather name it so.")] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            "-d",
            help="Only this defense: a row of the board, or any other such as 'gaussian-blur(sigma=2)' or "
            "path/to/file.py:name. May be given several times.",
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(help="Only the first so many images of the board.", min=1)] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            help="Stop as soon as results allow it: half-width=0.02 (every interval is ± 2 points or shorter), decided "
            "(every two neighbours are told apart, or would hardly be by the last image); given twice, both must hold. "
            "Looked at after every block; the intervals are then those of confidence sequences, which hold at any time."
        ),
    ] = None,
    max_images: Annotated[
        int | None, typer.Option(help="Run at most so many images, in whole blocks; with --until, the latest end.")
    ] = None,
    radius: Annotated[
        str | None,
        typer.Option(
            "--radius",
            "--eps",
            help="Another radius, such as 4/255: a board of its own, named NAME@RADIUS in store and results.",
        ),
    ] = None,
    store: StoreOption = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the board's page here (one self-contained HTML file).")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Write the results as JSON into this folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core on the CPU.", min=1)] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the store.", min=0)] = 0,
    retry_errors: Annotated[bool, typer.Option(help="Run jobs again that ended in an error.")] = False,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Spare an image the attacks after the one that broke it: cheaper, but the numbers of single attacks "
            "are then conditional. The same as `cascade: true` in the board.yaml.",
        ),
    ] = False,
    attack_precision: Annotated[
        str | None,
        typer.Option(help="float32 or bf16 for the attacks' passes; verification is always in float32."),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Evaluate a board, continuing an earlier run, and print its ranking.

    Examples: purebench run fashion-quick --page board.html

    purebench run --defense path/to/file.py:name --board fashion-quick

    purebench run fashion-linf -d vae -d trades --until decided --until half-width=0.05

    The exit code is 1 if images of a row ERRORED, so that the row has bounds instead of a number; --retry-errors runs
    those jobs again.
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, the_one
    from purebench.boards.trust import check_trust
    from purebench.core.terminal_output import complain
    from purebench.execution.board_run import run_board
    from purebench.execution.progress import run_progress
    from purebench.leaderboards.output import check_outputs, finish

    name = the_one(board, named)
    chosen = choose(
        name,
        defense,
        images,
        radius=radius,
        cascade=cascade,
        precision=attack_precision,
        until=until,
        max_images=max_images,
    )
    check_trust(name, load_board(find_board(name)), trust=trust)
    check_outputs(page, results, [row.name for row in chosen.shown])
    with run_progress() as watch:
        context, records = run_board(
            chosen,
            store or default_store(),
            device=device,
            workers=workers,
            wait=wait,
            retry_errors=retry_errors,
            keep_rows=True,
            progress=watch,
            tell=complain,
        )
    found = finish(chosen, records, page, results, context.images, context.order, context.left_out)
    if any(result.errored for result in found):
        raise typer.Exit(1)  # a row has bounds instead of a number
