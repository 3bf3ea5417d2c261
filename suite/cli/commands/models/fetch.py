"""The command `purebench fetch`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import TrustOption


def fetch(
    board: Annotated[str, typer.Argument(help="A bundled board (purebench list boards) or the path of a board.yaml.")],
    defense: Annotated[
        list[str] | None,
        typer.Option("--defense", "-d", help="Only the files of this row, and those that all rows need."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: check the files that are here, and list the others.")
    ] = False,
    trust: TrustOption = False,
) -> None:
    """Download the published files that a board needs, as far as they can be downloaded, and check those that are here.

    Models are saved in $PUREBENCH_MODELS, and images in $PUREBENCH_DATA. A download that was interrupted is continued.
    Sizes and hashes are checked; if the authors publish no hash, that of the first download is recorded. Files that
    need a login or a browser are listed with what to do. Nothing is unpickled.

    Example: purebench fetch cifar10-linf -d likelihood-maximisation

    The exit code is 2 while files are missing or wrong, or a row has another fault; rows whose files are here can be
    run.
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.files.needed_files import files_and_faults, runnable_rows
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose
    from purebench.boards.trust import check_trust
    from purebench.cli.fetching import State, fetch_files, only_fetch, still_missing
    from purebench.cli.missing_files import missing_table
    from purebench.cli.progress import bytes_bar
    from purebench.core.errors import PurebenchError
    from purebench.core.files.recorded_hashes import RecordedHashes
    from purebench.core.terminal_output import complain, printable
    from purebench.defenses.mlvgm.official import models_home

    chosen = choose(board, defense, None)
    check_trust(board, load_board(find_board(board)), trust=trust)
    needed, faults = files_and_faults(chosen)
    if defense and faults:
        raise PurebenchError(f"{next(iter(faults))} cannot be run: {next(iter(faults.values()))}")
    home = models_home()
    with nullcontext() if dry_run else only_fetch(home), bytes_bar("files") as progress:
        fetched = fetch_files(needed, RecordedHashes.of(home), progress, only_check=dry_run)
    for one in fetched:
        if one.state is not State.MISSING:
            print(printable(f"{one.state}: {one.needed.found or one.needed.file.place}: {one.told}"))
    now = [replace(one.needed, found=Path(one.needed.file.place) if one.usable else None) for one in fetched]
    rows = runnable_rows(chosen, now, faults)
    print(printable(f"rows that can be run now: {', '.join(rows) or 'none'}"))
    for part, fault in faults.items():
        complain([f"purebench: {part} cannot be run: {fault}"])
    if missing := still_missing(fetched):
        complain(missing_table(missing, {one.file.place: one.parts for one in needed}))
    if faults or not all(one.usable for one in fetched):
        raise typer.Exit(2)
