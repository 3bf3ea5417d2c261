"""Draws robust accuracies with their intervals as a matplotlib figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from purebench.boards.board import Board
from purebench.leaderboards.notes import threat_text
from purebench.results.ranking.rank import Row

ACCENT, SOFT = "#0b6e74", "#6a665f"


class Picture(Figure):
    """A figure that a notebook displays; it is not a pyplot figure, so it is displayed only once."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def intervals(board: Board, rows: Sequence[Row], ax: Axes | None = None) -> Figure:
    """Draw a line for each defense, best on top: the interval, the robust accuracy (dot) and the clean accuracy (ring).

    Args:
        board: The board.
        rows: Its rows, best first. A row without results shows its name only.
        ax: Axes to draw into; None for a new figure.

    Returns:
        The figure, that of `ax` if given.
    """
    if ax is None:
        figure: Any = Picture(figsize=(7.2, 1.6 + 0.36 * max(len(rows), 1)), layout="constrained")
        FigureCanvasAgg(figure)
        ax = _drawn(board, rows, figure.subplots())
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        made: Figure = figure
        return made
    _drawn(board, rows, ax).legend(fontsize="small", framealpha=0.9)
    root = ax.get_figure(root=True)
    assert root is not None
    return root


def _drawn(board: Board, rows: Sequence[Row], ax: Axes) -> Axes:
    places = range(len(rows))
    for place, row in zip(places, rows, strict=True):
        if row.clean is not None:
            ax.plot(100 * row.clean.value, place, "o", markerfacecolor="none", color=SOFT, markersize=6, zorder=2)
        if row.robust is not None and row.rank is not None:
            low, value, high = (100 * end for end in (row.robust.low, row.robust.value, row.robust.high))
            ax.plot([low, high], [place, place], color=ACCENT, linewidth=2.4, solid_capstyle="butt", zorder=3)
            ax.plot(value, place, "o", color=ACCENT, markersize=7, zorder=4)
    ax.plot([], [], "o-", color=ACCENT, label=f"robust accuracy, {100 * board.confidence:g} % interval")
    ax.plot([], [], "o", markerfacecolor="none", color=SOFT, label="clean accuracy")
    ax.set(
        yticks=list(places),
        yticklabels=[row.name for row in rows],
        xlim=(-2, 102),
        ylim=(len(rows) - 0.4, -0.6),
        xlabel=f"accuracy (%), {threat_text(board)}, {_images(rows, board.dataset.images)} images",
    )
    ax.set_title(board.title, loc="left", fontsize="medium", fontweight="bold")
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _images(rows: Sequence[Row], most: int) -> str:
    """Return the numbers of images that the rows were evaluated on: "48", "60 of 200" or "60 to 80 of 200"."""
    sizes = sorted({len(row.result.images) for row in rows} - {0}) or [most]
    ends = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return ends if sizes == [most] else f"{ends} of {most}"
