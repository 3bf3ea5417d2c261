"""The command `purebench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores (SQLite files), such as those of the shards of a plan.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The store to write: a new file, or one of the stores. Missing folders are made."
        ),
    ],
) -> None:
    """Join stores that were written apart, such as those of shards, into one.

    Equal jobs must have equal records in all stores, except for their times and commits; otherwise nothing is written.
    The output appears at once when it is complete, also if the command is killed, and the stores stay as they are.

    Example: purebench merge plan.*-of-8.sqlite -o all.sqlite
    """
    from purebench.core.terminal_output import printable
    from purebench.records.merge_stores import merge_stores

    for name, (done, planned) in merge_stores(stores, output).items():
        print(printable(f"{name}: {done} of {planned} jobs; purebench show {name} --store {output}"))
