"""`purebench check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    defense: Annotated[
        str, typer.Argument(help="A row of the board, or another such as 'median' or path/to/file.py:name.")
    ],
    board: Annotated[
        str, typer.Option("--board", help="Where its images, classifier and threat come from; bundled, or a file.")
    ] = "fashion-quick",
    images: Annotated[int, typer.Option(help="Images of the board to use.", min=1)] = 24,
    steps: Annotated[int, typer.Option(help="Steps of APGD.", min=1)] = 10,
    draws: Annotated[int, typer.Option(help="Draws that gradients and scores of a random defense average.", min=1)] = 4,
    queries: Annotated[int, typer.Option(help="Queries of the black-box attack.", min=1)] = 100,
    level: Annotated[float, typer.Option(help="Chance of any failure where all is well.")] = 0.05,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    store: Annotated[
        Path | None, typer.Option("--store", help="SQLite file of all records. Default: the user's data folder.")
    ] = None,
) -> None:
    """Check whether the evaluation of a defense can be trusted; exit code 1 if a check fails.

    Asks for gradients that are there, and right; for attacks that get stronger with knowledge, draws and radius; for
    an unbounded attack that reaches 0 %; for seeds that decide.

    Example: purebench check vae --images 12
    """
    from purebench import show
    from purebench.checks.attacks import Effort
    from purebench.checks.finding import Result, verdict
    from purebench.checks.honest import honest
    from purebench.choose import choose
    from purebench.claims import require_fraction
    from purebench.growing import Run
    from purebench.places import default_store

    require_fraction("--level", level, ends=False)
    chosen = choose(board, [defense], None)
    effort = Effort(images=images, steps=steps, draws=draws, queries=queries)
    with show.progress() as progress:
        run = Run(store or default_store(), device, workers, progress)
        findings = honest(chosen, chosen.shown[0], run, effort=effort, level=level)
    show.findings(f"{chosen.shown[0].name} on {chosen.name}", findings)
    if verdict(findings) is Result.FAILS:
        raise typer.Exit(1)
