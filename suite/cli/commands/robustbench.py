"""The command `purebench robustbench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import OneDeviceOption


def robustbench(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model of the zoo, or your own as path/to/file.py:name; without it, the models in the folder are "
            "listed."
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="RobustBench's model folder, with files DATASET/THREAT/NAME.pt; not for your own model."),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder that contains cifar-10-batches-py, cifar-100-python or ImageNet's val.")
    ] = Path("data"),
    dataset: Annotated[str, typer.Option(help="cifar10, cifar100 or imagenet.")] = "cifar10",
    threat: Annotated[str, typer.Option("--threat", "--norm", help="Norm: linf or l2.")] = "linf",
    radius: Annotated[
        str | None, typer.Option("--radius", "--eps", help="Radius, such as 8/255; default: the leaderboard's.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Number of test images: only the first ones.", min=1)] = None,
    batch: Annotated[
        int, typer.Option(help="Batch size; together with the seed it determines the result.", min=1)
    ] = 32,
    device: OneDeviceOption = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of AutoAttack.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the result to this JSON file; model_info/DATASET/THREAT/NAME.json is written in RobustBench's "
            "form."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the finished batches, from which the same command resumes after it was killed. "
            "Default: the user's data folder."
        ),
    ] = None,
) -> None:
    """Evaluate a model of RobustBench's zoo, or your own, by its protocol, from local files; downloads nothing.

    Example: purebench robustbench Carmon2019Unlabeled --models models --data data --images 100
    Example: purebench robustbench mine.py:model --data data --out model_info/cifar10/Linf/Mine2026.json
    """
    from purebench.core.files.places import default_store
    from purebench.core.threat import parse_radius
    from purebench.integrations.robustbench.command import command

    command(
        model,
        model_dir=models,
        data_dir=data,
        dataset=dataset,
        threat_model=threat.capitalize(),  # RobustBench writes Linf and L2
        eps=None if radius is None else parse_radius(radius),
        n_examples=images,
        batch_size=batch,
        device=device,
        seed=seed,
        out=out,
        state=state or default_store().parent / "robustbench",
    )
