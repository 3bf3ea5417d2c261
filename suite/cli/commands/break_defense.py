"""The command `purebench break`: searches for an attack on one defense."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import IN_MINUTES, OneDeviceOption, StoreOption, TrustOption, in_minutes
from purebench.cli.progress import progress_bar

if TYPE_CHECKING:
    from purebench.attack_search.report import BreakReport

USUAL_MINUTES = 60.0
SHOWN = 5
"""Candidates that are printed."""


def break_defense(
    defense: Annotated[
        str, typer.Argument(help="A row of the board, a spec such as 'median(size=5)', or path/to/file.py:name.")
    ],
    board: Annotated[
        str,
        typer.Option(help="The board (bundled, or a board.yaml) that provides threat model, classifier and images."),
    ] = "fashion-quick",
    hours: Annotated[float | None, typer.Option(help="Time of search and confirmation in hours; default: 1.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help=f"The same in minutes. {IN_MINUTES}",
            metavar="TIME",
            parser=in_minutes("--minutes"),
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Number of dev images of the search.", min=1)] = 48,
    confirm: Annotated[
        int | None,
        typer.Option(help="Images of the board for the confirmation; default: as many as 30 % of the time permits."),
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            help="Proposals after the first candidates: gp (Optuna), random, or auto (gp if it is installed)."
        ),
    ] = "auto",
    evaluations: Annotated[
        int | None, typer.Option(help="Stop after this number of candidates; default: at the end of the time.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the candidates and of all random numbers.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.md, report.json, attack.yaml, board.yaml; default: broken/ and a name."),
    ] = None,
    store: StoreOption = None,
    controls: Annotated[
        Path | None,
        typer.Option(help="File of benchmarks/breaking.py: how often this budget broke known faults; default: ours."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = 1,
    device: OneDeviceOption = "cpu",
    trust: TrustOption = False,
) -> None:
    """Search for an attack on one defense, on dev images, and confirm the best one on images of the board.

    First, remedies for the known causes of gradient masking are tried (other losses, BPDA, parts of the defense,
    transfer, averaged and estimated gradients, attacks with scores or decisions alone), then proposals of an optimiser,
    and compositions of the best. All candidates run on few dev images, and the best third on twice as many, until the
    time is over. The winner is run once on images of the board: that accuracy is an unbiased estimate, and an upper
    bound of the robust accuracy. Each further confirmation of the same defense has a wider interval (docs/breaking.md).

    The records are kept in the store: the same command continues an interrupted search. Ctrl-C reports the best so far.

    Examples: purebench break jpeg --minutes 10

    purebench break path/to/file.py:name --board fashion-linf --hours 8 --workers 2

    A search that finds nothing is not evidence of robustness: the report says how often the same budget broke defenses
    with known faults.
    """
    from purebench.attack_search.breaking import SearchBudget
    from purebench.attack_search.breaking import break_defense as run
    from purebench.attack_search.controls import BUNDLED, read_controls
    from purebench.attack_search.report import check_folder, write
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, label
    from purebench.boards.trust import check_trust
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError
    from purebench.core.files.places import default_store

    if hours is not None and minutes is not None:
        raise PurebenchError("--hours: expected either --hours or --minutes, but got both; remove one.")
    total = minutes if minutes is not None else (60 * hours if hours is not None else USUAL_MINUTES)
    budget = SearchBudget(
        minutes=total, images=images, confirm=confirm, evaluations=evaluations, workers=workers, device=device
    )
    chosen, original = choose(board, [defense], None), load_board(find_board(board))
    check_trust(board, original, trust=trust)
    out = out or Path("broken") / label(defense)
    check_folder(out)
    measured = read_controls(controls or BUNDLED)
    keep_freed_memory()
    with progress_bar("preparing") as tell:
        report = run(
            chosen,
            original,
            store or default_store(),
            budget,
            seed=seed,
            how=search,
            controls=measured,
            command=shlex.join(["purebench", *sys.argv[1:]]),
            progress=tell,
        )
    files = write(report, out)
    _print(report, out, store)
    for place in files:
        typer.echo(f"wrote {place}")
    if report.found.ended == "interrupted":
        raise typer.Exit(130)


def _print(report: BreakReport, out: Path, store: Path | None) -> None:
    """Print the strongest candidates, the result, and the next command."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from purebench.attack_search.candidate import in_words
    from purebench.attack_search.halving import candidate_rows
    from purebench.attack_search.report import ENDED, NAMED
    from purebench.core.files.text import counted
    from purebench.core.terminal_output import make_console, printable

    console, found = make_console(), report.found
    title = f"Attacks on {report.board.shown[0].use}, {report.board.name}: accuracy on dev images"
    table = Table("dev accuracy", "passes", "attack", title=title, title_justify="left", box=SIMPLE_HEAD)
    for row in candidate_rows(found.halving)[:SHOWN]:
        dev = ", ".join("–" if v is None else f"{100 * v:.0f} % ({n})" for n, v in row["dev"].items())
        attack = in_words(row["attack"])
        table.add_row(Text(dev), Text(f"{row['passes']:.0f}"), Text(attack))
    console.print(table)
    console.print(
        Text(
            f"{counted(len(found.halving.candidates), 'attack')} in {counted(found.brackets, 'bracket')}, "
            f"{found.passes:,} purifier passes, {found.spent:.0f} s; the search ended because {ENDED[found.ended]}."
        )
    )
    for line in report.not_run(NAMED):
        console.print(Text(line))
    console.print(Text(report.conclusion(), style="bold"))
    console.print(Text(report.frequency.sentence()))
    if found.winner is not None:
        added = "" if report.extended.existing else " (the board with this attack added)"
        console.print(f"Next command{added}:")
        print(printable(f"  {report.run_command(out, store)}"))
