"""The command `purebench check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import IN_MINUTES, OneDeviceOption, StoreOption, TrustOption, in_minutes

if TYPE_CHECKING:
    from purebench.checks.finding import CheckResult

UNDECIDED = 3
"""Exit code if no check fails, but one would need more images; the exit code 2 means invalid input."""


def check(
    defense: Annotated[
        str, typer.Argument(help="A row of the board, or another defense such as 'median' or path/to/file.py:name.")
    ],
    board: Annotated[
        str,
        typer.Option(
            "--board",
            help=("The board that provides images, classifier and threat model: bundled, or the path of a board.yaml."),
        ),
    ] = "fashion-quick",
    max_images: Annotated[
        int | None, typer.Option(help="Stop after at most N images. Default: all images of the board.", min=1)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help=f"Time limit, after which no further images are used. {IN_MINUTES}",
            metavar="TIME",
            parser=in_minutes("--minutes"),
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of APGD.", min=1)] = 10,
    eot: Annotated[
        int,
        typer.Option(
            help=("EOT samples: draws of a random defense over which gradients and scores are averaged."), min=1
        ),
    ] = 4,
    queries: Annotated[int, typer.Option(help="Queries of the black-box attack.", min=1)] = 100,
    tolerance: Annotated[
        float,
        typer.Option(
            help=(
                "Smallest violation that must be detected, as a share of the images; smaller values need more images."
            )
        ),
    ] = 0.2,
    confidence: Annotated[float, typer.Option(help="Confidence of the joint decision over all checks.")] = 0.95,
    device: OneDeviceOption = "cpu",
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = 1,
    retry_errors: Annotated[bool, typer.Option(help="Run jobs again that ended in an error.")] = False,
    store: StoreOption = None,
    trust: TrustOption = False,
) -> None:
    """Check whether the evaluation of a defense can be trusted; exit code 1 if a check fails, 3 if one is undecided.

    Checks that gradients exist and are correct; that attacks get stronger with knowledge, draws and radius; that an
    unbounded attack reaches 0 %; and that seeds determine the draws. Adds images until every check is decided.

    Example: purebench check vae --board fashion-quick
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose
    from purebench.boards.trust import check_trust
    from purebench.checks.attack_variants import Effort
    from purebench.checks.evaluation import honest
    from purebench.checks.finding import CheckStatus
    from purebench.core.errors import PurebenchError, require_fraction
    from purebench.core.files.places import default_store
    from purebench.execution.incremental import Limits, Runner
    from purebench.execution.progress.terminal import run_progress

    require_fraction("--confidence", confidence, ends=False)
    if minutes is not None and not minutes > 0:
        raise PurebenchError(f"--minutes: expected a number above 0, such as 10 or 0.5, but got {minutes!r}.")
    chosen = choose(board, [defense], None)
    check_trust(board, load_board(find_board(board)), trust=trust)
    effort = Effort(steps=steps, eot=eot, queries=queries, tolerance=tolerance)
    with run_progress(parts=True) as watch:
        run = Runner(store or default_store(), device, workers, watch, retry_errors)
        row, limits = chosen.shown[0], Limits(max_images, minutes)
        found = honest(chosen, row, run, effort=effort, confidence=confidence, limits=limits)
    _print_findings(f"{row.name} on {chosen.name}, {found.images} images", found.findings)
    if code := {CheckStatus.FAILS: 1, CheckStatus.UNDECIDED: UNDECIDED}.get(found.result):
        raise typer.Exit(code)


def _print_findings(title: str, found: Sequence[CheckResult]) -> None:
    """Print a line for each check, with its sentence."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from purebench.checks.finding import CheckStatus
    from purebench.core.terminal_output import make_console

    colours = {
        CheckStatus.HOLDS: "green",
        CheckStatus.FAILS: "red",
        CheckStatus.UNDECIDED: "yellow",
        CheckStatus.NOT_APPLICABLE: "dim",
    }
    table = Table("result", "check", "observation", title=title, title_justify="left", box=SIMPLE_HEAD)
    for one in found:
        table.add_row(Text(one.result, style=colours[one.result]), Text(one.name), Text(one.sentence))
    make_console().print(table)
