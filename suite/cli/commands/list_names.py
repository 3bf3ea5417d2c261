"""The command `purebench list`."""

from __future__ import annotations

from typing import Annotated

import typer


def list_names(
    what: Annotated[
        str | None, typer.Argument(help="defenses, attacks, views, classifiers, datasets, recipes or boards.")
    ] = None,
) -> None:
    """List the registered names, of this package and of others, with a line on each."""
    from purebench.cli.listing import print_names

    print_names(what)
