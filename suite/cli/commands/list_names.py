"""The command `purebench list`."""

from __future__ import annotations

from typing import Annotated

import typer


def list_names(
    what: Annotated[
        str | None,
        typer.Argument(help=("The group to list: defenses, attacks, views, classifiers, datasets, recipes or boards.")),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help=("A name of the group, to print its parameters, defaults and source."))
    ] = None,
) -> None:
    """List the registered names, of this package and of others, with one line each, or describe one.

    Example: purebench list defenses diffpure
    """
    if what is not None and name is not None:
        from purebench.cli.describe import describe
        from purebench.cli.listing import check_group

        check_group(what)
        describe(what, name)
        return
    from purebench.cli.listing import print_names

    print_names(what)
