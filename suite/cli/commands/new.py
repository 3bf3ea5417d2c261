"""The command `purebench new`: writes a runnable skeleton of a defense, an attack, a data set or a board."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Write a runnable skeleton of a defense, an attack, a data set or a board of your own."
)

Name = Annotated[str, typer.Argument(help="A valid Python name, such as my_method.")]
Folder = Annotated[
    Path | None, typer.Option(help=("Folder to write into; created if needed. Default: a folder of that name."))
]


@app.command()
def defense(name: Name, folder: Folder = None) -> None:
    """Write a purifier, a test of its required properties, a board to run it on, and the JSON schema of boards.

    Existing files are not overwritten.

    Example: purebench new defense my_method
    """
    _write("defense", name, folder)


@app.command()
def attack(name: Name, folder: Folder = None) -> None:
    """Write an attack, a test of it, a board to run it on, and the JSON schema of boards.

    Existing files are not overwritten.

    Example: purebench new attack my_attack
    """
    _write("attack", name, folder)


@app.command()
def dataset(name: Name, folder: Folder = None) -> None:
    """Write a data set with a classifier, a test of both, a board on them, and the JSON schema of boards.

    Existing files are not overwritten.

    Example: purebench new dataset my_images
    """
    _write("dataset", name, folder)


@app.command()
def board(
    name: Annotated[str, typer.Argument(help="Name of the new board: lower-case letters, digits and hyphens.")],
    source: Annotated[str, typer.Option("--from", help="Name of a bundled board (see purebench list boards).")],
    folder: Folder = None,
) -> None:
    """Write a copy of a bundled board, which can be changed, and the JSON schema of boards.

    Jobs that the change does not affect keep their keys, so that results in the store are used again.

    Existing files are not overwritten.

    Example: purebench new board mine --from fashion-quick
    """
    from purebench.cli.skeleton import write_board

    written = write_board(name, source, folder or Path(name))
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"next, from here:\n  purebench run {shlex.quote(str(written[-1]))}")


def _write(kind: str, name: str, folder: Path | None) -> None:
    from purebench.cli.skeleton import write
    from purebench.core.registry import names

    written = write(kind, name, folder or Path(name))
    group = f"{kind}s"
    if name in names(group):
        typer.echo(
            f"note: {name!r} is also the registered name of another {kind}; yours is named by its file, "
            f"{written[0]}:{name}",
            err=True,
        )
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo("next, from here:")
    if kind == "defense":
        typer.echo(f"  purebench try {written[0]}:{name}")
    typer.echo(f"  purebench run {written[-1]}")
    if kind == "defense":
        typer.echo(f"  purebench run --defense {written[0]}:{name} --board fashion-quick")
    typer.echo(f"  python -m pytest {written[1]}")
