"""The command `purebench inspect`: measures each latent of a purifier, as a table, a picture and a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import OneDeviceOption, TrustOption
from purebench.cli.progress import progress_bar

if TYPE_CHECKING:
    from purebench.boards.board import Board
    from purebench.execution.context import Context
    from purebench.latents.inspection_result import Inspection

ROWS = 8
"""Number of images in the picture, one of each class."""


def inspect_latents(
    defense: Annotated[
        str,
        typer.Argument(help="A defense that mixes latents: a row of the board, or a name such as mlvgm-hvae(blur=1)."),
    ],
    board: Annotated[
        str, typer.Option(help="The board (bundled, or a board.yaml) that provides images and classifier.")
    ] = "fashion-quick",
    dataset: Annotated[
        str | None, typer.Option(help=("Use the images of this data set instead, written as in a board.yaml."))
    ] = None,
    classifier: Annotated[str | None, typer.Option(help="Use this classifier instead of the board's.")] = None,
    images: Annotated[int, typer.Option(help="Number of images, with balanced classes.", min=2)] = 100,
    draws: Annotated[int, typer.Option(help="Number of random draws per image.", min=1)] = 4,
    hold: Annotated[
        bool,
        typer.Option(
            "--hold",
            help="Keep the codes of the latents that are not resampled; without it, they are encoded again given "
            "the latents above them, as in purification, which corrects some of the resampling.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the draws; the board's seed determines the images.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the JSON file.")] = Path("inspected"),
    device: OneDeviceOption = "cpu",
    trust: TrustOption = False,
) -> None:
    """Show the effect of each latent of a purifier on accuracy: resampled alone, with all finer ones, and kept alone.

    Example: purebench inspect mlvgm-hvae --images 50
    """
    import torch

    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.trust import check_trust
    from purebench.cli.commands.models.inspection_tables import console, print_table, table
    from purebench.core.compute.batching import DeviceBatch
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError
    from purebench.execution.context import prepare
    from purebench.latents.inspection import inspect_defense, latents_of

    if out.exists() and not out.is_dir():
        raise PurebenchError(f"--out: expected a folder, but {out} is a file; name another.")
    check_trust(board, load_board(find_board(board)), trust=trust)
    keep_freed_memory()
    context = prepare(chosen(board, defense, dataset, classifier, images), device)
    ((name, made),) = context.defenses.items()
    latents_of(made)
    x = torch.as_tensor(context.images.floats()).to(context.device)
    y = torch.as_tensor(context.images.labels).to(context.device)
    with progress_bar("resampling") as tell:
        found = inspect_defense(
            made,
            x,
            y,
            draws=draws,
            seed=seed,
            hold=hold,
            confidence=context.board.confidence,
            batch=DeviceBatch(context.device_batch(name)),
            pictures=one_a_class(context),
            progress=tell,
        )
    print_table(context, found, console())
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(
        json.dumps(report(context, found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    table(found, [context.images.classes[i] for i in labels(context)]).draw().save(out / f"{name}.png")
    typer.echo(f"picture: {out / name}.png\nnumbers: {out / name}.json")


def chosen(name: str, defense: str, dataset: str | None, classifier: str | None, images: int) -> Board:
    """Return the board with one defense alone.

    Args:
        name: The board.
        defense: The defense, a row of the board or a spec.
        dataset: Other images, None for the board's.
        classifier: Another classifier, None for the board's.
        images: Number of images.

    Returns:
        The board.
    """
    from dataclasses import replace

    from purebench.boards.selection import choose
    from purebench.core.registry import Spec

    board = choose(name, [defense], images)
    if dataset is not None:
        board = replace(board, dataset=replace(board.dataset, use=Spec.parse(dataset)))
    if classifier is not None:
        board = replace(board, classifier=Spec.parse(classifier))
    return replace(board, defenses=board.defenses[:1])  # drops the rows whose images its attacks reuse


def one_a_class(context: Context) -> list[int]:
    """Return positions of the first image of each class, by class, at most ROWS."""
    import numpy as np

    return [int(place) for place in np.unique(context.images.labels, return_index=True)[1][:ROWS]]


def labels(context: Context) -> list[int]:
    """Return the classes of the images that are shown."""
    return [int(context.images.labels[place]) for place in one_a_class(context)]


def report(context: Context, found: Inspection) -> dict[str, object]:
    """Return all numbers as JSON values, with the settings that decide them.

    Args:
        context: The board as it was run.
        found: The inspection.

    Returns:
        The content of the JSON file.
    """
    from purebench.records.provenance import device_name, versions

    ((row,), board) = context.board.defenses, context.board
    return {
        "defense": row.use.to_dict(),
        "classifier": board.classifier.to_dict(),
        "dataset": {**board.dataset.use.to_dict(), "hash": context.data, "seed": board.dataset.seed},
        "images": context.order.tolist(),
        "fingerprint": context.fingerprints[row.name],
        **found.to_dict(),
        "device": device_name(str(context.device)),
        "versions": versions(),
    }
