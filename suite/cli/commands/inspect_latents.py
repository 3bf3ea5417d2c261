"""The command `purebench inspect`: measures each latent of a purifier, as a table, a picture and a JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import TrustOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from purebench.boards.board import Board
    from purebench.data.pictures import PictureTable
    from purebench.execution.context import Context
    from purebench.latents.inspection import Inspection, Progress
    from purebench.statistics import Estimate

ROWS = 8
"""Number of images in the picture, one of each class."""
PIPED = 100
"""Number of columns if the output is not a terminal."""
LEGEND = {
    "it alone": "what resampling this latent alone does to the accuracy of the reconstruction",
    "it and finer": "accuracy with it and all finer ones resampled",
    "all but it": "accuracy with all but it resampled; with it resampled as well {generated}",
    "l2": "mean distance from the reconstruction, it alone resampled",
    "margin": "mean |change| of the margin (label's logit less the largest other), it alone resampled",
    "slope": "the same to first order: |gradient of the margin · (sampled - encoded)|",
}
"""The table's columns of numbers, and their meaning."""


def inspect_latents(
    defense: Annotated[
        str,
        typer.Argument(help="A defense that mixes latents: a row of the board, or a name such as mlvgm-hvae(blur=1)."),
    ],
    board: Annotated[
        str, typer.Option(help="The board (bundled, or a board.yaml) whose images and classifier are taken.")
    ] = "fashion-quick",
    dataset: Annotated[str | None, typer.Option(help="Images of this dataset instead, as in a board.yaml.")] = None,
    classifier: Annotated[str | None, typer.Option(help="This classifier instead.")] = None,
    images: Annotated[int, typer.Option(help="How many images, classes balanced.", min=2)] = 100,
    draws: Annotated[int, typer.Option(help="Draws of whatever is random, each image.", min=1)] = 4,
    hold: Annotated[
        bool,
        typer.Option(
            "--hold",
            help="Hold the codes of the latents that are not resampled; else they are encoded given the ones above "
            "them, as in purification, and mend what was resampled there.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the draws; the board's seed chooses the images.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the JSON file.")] = Path("inspected"),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    trust: TrustOption = False,
) -> None:
    """Show the effect of each latent of a purifier on accuracy: resampled alone, with all finer ones, and kept alone.

    Example: purebench inspect mlvgm-hvae --images 50
    """
    import torch

    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.trust import check_trust
    from purebench.core.batching import DeviceBatch
    from purebench.core.errors import PurebenchError
    from purebench.core.memory import keep_freed_memory
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
    with progress() as tell:
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


def table(found: Inspection, classes: list[str]) -> PictureTable:
    """Return a picture table: a row for each image, then a row with the places where each latent changes images most.

    Args:
        found: The inspection.
        classes: Names of the classes of the images.

    Returns:
        The table.
    """
    import numpy as np

    from purebench.data.pictures import PictureTable, to_bytes
    from purebench.latents.inspection import KEPT

    pictures = found.pictures
    channels = pictures.images.shape[2]
    changes = [change / change.max() if change.any() else None for change in pictures.changes]
    maps = [None if change is None else np.repeat(to_bytes(change)[None], channels, 0) for change in changes]
    shown = [[to_bytes(image) for image in row] for row in np.moveaxis(pictures.images, 0, 1)]
    heads = [
        name if index == 0 else f"{name}\nl2 {distance:.2f}"
        for index, (name, distance) in enumerate(zip(pictures.names, pictures.distances, strict=True))
    ]
    note = (
        f"latent i: resampled alone; {KEPT[found.hold]}.\n"
        "Bottom row: where pixels change on average, each map on its own scale; l2: by how much on average.\n"
        "Both of the reconstruction from the original, of all else from the reconstruction."
    )
    return PictureTable([*shown, maps], [*classes, "mean\n|change|"], heads, note)


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


def print_table(context: Context, found: Inspection, console: Console) -> None:
    """Print the heading, a line for each latent (two on a narrow console), and the meaning of the columns.

    Args:
        context: The board as it was run.
        found: The inspection.
        console: Where to print.
    """
    from rich.table import Table
    from rich.text import Text

    from purebench.latents.inspection import KEPT

    ((row,), board) = context.board.defenses, context.board
    console.print(Text(f"What each latent of {row.use} carries", style="bold"))
    facts = [board.dataset.use.name, f"{found.clean.n} images", f"{found.draws} draws", f"seed {found.seed}"]
    console.print(Text(" · ".join([*facts, f"{100 * board.confidence:g} % confidence"]), style="dim"))
    console.print()
    whole = {"clean": found.clean, "reconstructed": found.reconstructed, "purified": found.purified}
    for name, rate in whole.items():
        console.print(Text(f"{name:<14}{rate.percent()}"))
    wide, narrow = (latents_table(found, gap) for gap in (" ", "\n"))
    needed = console.measure(wide, options=console.options.update(max_width=2 * PIPED)).maximum
    console.print(wide if needed <= console.width else narrow)
    legend = Table.grid(padding=(0, 2))
    for head, meaning in LEGEND.items():
        legend.add_row(head, meaning.format(generated=found.generated.percent()), style="dim")
    legend.add_row("kept", KEPT[found.hold], style="dim")
    console.print(legend)


def latents_table(found: Inspection, gap: str) -> Table:
    """Return the table with a row for each latent.

    Args:
        found: The inspection.
        gap: Text between a number and its interval, a space or a new line.

    Returns:
        The table.
    """
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, padding=(0, int(gap == " ")), pad_edge=False, collapse_padding=True)
    for head in ("latent", "kept", *LEGEND):
        shown.add_column(head, justify="right", no_wrap=True)
    for one in found.latents:
        shown.add_row(
            f"{one.latent}",
            f"{one.kept:.2f}",
            points(one.difference, gap, "+"),
            points(one.from_here, gap),
            points(one.alone, gap),
            f"{one.distance.value:.2f}",
            f"{one.change.value:.2f}{gap}±{one.change.half_width:.2f}",
            "–" if one.slope is None else f"{one.slope.value:.2f}",
        )
    return shown


def console() -> Console:
    """Return the console, with PIPED columns if stdout is not a terminal."""
    from purebench.core.terminal_output import make_console

    found = make_console()
    return found if found.is_terminal or "COLUMNS" in os.environ else make_console(width=PIPED)


@contextmanager
def progress() -> Iterator[Progress]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
    from rich.progress import Progress as Bar

    from purebench.core.terminal_output import make_console

    errors = make_console(stderr=True)
    with Bar(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("resampling", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def points(estimate: Estimate, gap: str = " ", sign: str = "") -> str:
    """Format a fraction in percentage points with its interval: "61.3 [58.2, 64.4]".

    Args:
        estimate: The fraction.
        gap: Text between the number and its interval.
        sign: Format option of the sign, such as "+".

    Returns:
        The text.
    """
    value, low, high = (100 * end for end in (estimate.value, estimate.low, estimate.high))
    return f"{value:{sign}.1f}{gap}[{low:{sign}.1f}, {high:{sign}.1f}]"
