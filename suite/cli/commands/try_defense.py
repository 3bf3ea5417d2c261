"""The command `purebench try`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import IN_SECONDS, OneDeviceOption, TrustOption, in_seconds
from purebench.cli.progress import progress_bar

if TYPE_CHECKING:
    from purebench.checks.quick.state import Probe

DEFAULT_BOARD = "fashion-quick"


def try_defense(
    defense: Annotated[
        str, typer.Argument(help="path/to/file.py:name, a registered name, or a spec such as 'median(size=5)'.")
    ],
    board: Annotated[
        str,
        typer.Option(
            "--board",
            help=("The board that provides images, classifier and threat model: bundled, or the path of a board.yaml."),
        ),
    ] = DEFAULT_BOARD,
    seconds: Annotated[
        float,
        typer.Option(
            help=f"Approximate time limit; probes that do not fit into it are left out. {IN_SECONDS}",
            metavar="TIME",
            parser=in_seconds("--seconds"),
        ),
    ] = 60.0,
    device: OneDeviceOption = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    trust: TrustOption = False,
) -> None:
    """Try a defense for about a minute: contract, randomness, clean accuracy, gradient, 8 images under a short attack.

    It uses dev images, none of which is on the board. Nothing is stored. The exit code is 1 if something is wrong
    with the defense, 2 for bad input, else 0.

    Example: purebench try path/to/file.py:name
    """
    import math

    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose
    from purebench.boards.trust import check_trust
    from purebench.checks.quick.quick_check import tried
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError

    if not 0 < seconds < math.inf:
        raise PurebenchError(f"--seconds: expected a number above 0, such as 60, but got {seconds!r}.")
    chosen = choose(board, [defense], None)
    check_trust(board, load_board(find_board(board)), trust=trust)
    keep_freed_memory()
    with progress_bar("preparing") as tell:
        found = tried(chosen, seconds=seconds, device=device, tell=tell)
    failed = any(probe.failed for probe in found)
    follows = _next_command(defense, board, seconds, found)
    if as_json:
        _print_json(defense, chosen.name, found, failed, follows)
    else:
        _print_report(f"{chosen.shown[0].name} on {chosen.name}", found, follows)
    if failed:
        raise typer.Exit(1)


def _next_command(defense: str, board: str, seconds: float, found: Sequence[Probe]) -> str:
    """Return the command to run after this one: the same again if something failed or lacked time, else the board."""
    import math

    from purebench.boards.replay import command
    from purebench.checks.quick.state import NEEDED

    other = "" if board == DEFAULT_BOARD else board
    if any(probe.failed for probe in found):
        return command("try", defense, board=other)
    if needed := sum(probe.numbers.get(NEEDED, 0.0) for probe in found):
        return command("try", defense, board=other, seconds=math.ceil(2 * (seconds + needed)))
    return command("run", board, defense=[defense])


def _print_json(defense: str, board: str, found: Sequence[Probe], failed: bool, follows: str) -> None:
    import json
    from dataclasses import asdict

    told = {"defense": defense, "board": board, "failed": failed, "probes": [asdict(one) for one in found]}
    print(json.dumps({**told, "next": follows}, indent=2))


def _print_report(title: str, found: Sequence[Probe], follows: str) -> None:
    """Print a line for each probe, then the next command."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from purebench.checks.finding import CheckStatus
    from purebench.core.terminal_output import make_console, printable

    colours = {CheckStatus.HOLDS: "green", CheckStatus.FAILS: "red", CheckStatus.UNDECIDED: "yellow"}
    table = Table("result", "probe", "observation", title=title, title_justify="left", box=SIMPLE_HEAD)
    for one in found:
        result = Text("measured") if one.result is None else Text(one.result, style=colours[one.result])
        table.add_row(result, Text(one.name), Text(one.sentence))
    console = make_console()
    console.print(table)
    console.print("Next command (a short attack on a few images does not measure robustness):")
    print(printable(f"  {follows}"))
