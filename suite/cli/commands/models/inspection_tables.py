"""Tables and the picture table of `purebench inspect`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from purebench.data.pictures import PictureTable
    from purebench.execution.context import Context
    from purebench.latents.inspection_result import Inspection
    from purebench.statistics import Estimate

PIPED = 100
"""Number of columns if the output is not a terminal."""
LEGEND = {
    "it alone": "change of the accuracy of the reconstruction if this latent alone is resampled",
    "it and finer": "accuracy if this latent and all finer ones are resampled",
    "all but it": "accuracy if all latents but this one are resampled; {generated} if all are resampled",
    "l2": "mean distance from the reconstruction if this latent alone is resampled",
    "margin": (
        "mean |change| of the margin (the label's logit minus the largest other) if this latent alone is resampled"
    ),
    "slope": "first-order approximation of the margin's change: |gradient of the margin · (sampled - encoded)|",
}
"""The table's columns of numbers, and their meaning."""


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
    from purebench.latents.inspection_result import KEPT

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
        f"latent i: only latent i is resampled; {KEPT[found.hold]}.\nBottom row: where pixels change on average, "
        "each map on its own scale; l2: mean distance.\nThe reconstruction is compared with the original image, "
        "all other columns with the reconstruction."
    )
    return PictureTable([*shown, maps], [*classes, "mean\n|change|"], heads, note)


def print_table(context: Context, found: Inspection, console: Console) -> None:
    """Print the heading, a line for each latent (two on a narrow console), and the meaning of the columns.

    Args:
        context: The board as it was run.
        found: The inspection.
        console: Where to print.
    """
    from rich.table import Table
    from rich.text import Text

    from purebench.latents.inspection_result import KEPT

    ((row,), board) = context.board.defenses, context.board
    console.print(Text(f"Effect of each latent of {row.use}", style="bold"))
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
