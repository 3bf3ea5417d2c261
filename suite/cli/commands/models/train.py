"""The command `purebench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import IN_MINUTES, OneDeviceOption, in_minutes


def train(
    name: Annotated[str, typer.Argument(help="Name of the recipe (see purebench list recipes).")],
    out: Annotated[
        Path, typer.Option(help=("Folder for the weights, the log, the model card and the state to resume from."))
    ] = Path("trained"),
    device: OneDeviceOption = "cpu",
    minutes: Annotated[
        float | None,
        typer.Option(
            help=f"Time limit; default: the recipe's own. {IN_MINUTES}",
            metavar="TIME",
            parser=in_minutes("--minutes"),
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help=("Number of steps instead of a time limit; the seed then determines the result."))
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    data: Annotated[
        str | None,
        typer.Option(help="Folder of the data set; default: it is searched for, or downloaded to $PUREBENCH_DATA."),
    ] = None,
) -> None:
    """Train a bundled model by its recipe; with the same --out an interrupted training continues."""
    from purebench.core import registry
    from purebench.core.compute.devices import find_device
    from purebench.core.registry import Spec

    recipe, _ = registry.factory("recipes", Spec.parse(name).name)
    written = recipe(out=out, device=find_device(device), minutes=minutes, steps=steps, seed=seed, folder=data)
    typer.echo(f"wrote {written}")
