"""The command `purebench train`."""

from __future__ import annotations

from dataclasses import replace
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
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, channels-last (float32 in this layout), bf16, or bf16-layers (bf16 within layers only); "
            "default: the recipe's own. Weights of different precisions differ."
        ),
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
    from purebench.core.errors import PurebenchError
    from purebench.core.registry import Spec
    from purebench.defenses.training.loop import Recipe
    from purebench.defenses.training.precision import as_precision, slow_on

    recipe, _ = registry.factory("recipes", Spec.parse(name).name)
    place = find_device(device)
    if isinstance(recipe, Recipe):
        recipe = recipe if precision is None else replace(recipe, precision=as_precision(precision))
        if slow_on(place, recipe.precision):
            typer.echo(
                f"note: this processor has no instructions for bf16, so that {recipe.precision} is several times "
                "slower here than --precision channels-last.",
                err=True,
            )
    elif precision is not None:
        raise PurebenchError(f"--precision: expected a recipe with a precision, but {name} has none; leave it out.")
    written = recipe(out=out, device=place, minutes=minutes, steps=steps, seed=seed, folder=data)
    typer.echo(f"wrote {written}")
