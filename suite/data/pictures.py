"""Encodes images as PNG files in base64, for pages, and draws labelled tables of pictures."""

from __future__ import annotations

import base64
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from purebench.data.datasets import Array

if TYPE_CHECKING:
    from PIL import Image as Pillow

GAP, MARGIN = 4, 12
"""GAP: pixels between two pictures of a table. MARGIN: pixels around the table."""
WIDEST, LARGEST, LEAST = 1800, 96, 48
"""WIDEST: largest total width of a table's pictures, in pixels. LARGEST, LEAST: largest and smallest size of one
picture."""
LETTERS, DPI = 12, 72
"""LETTERS: font size of a table, in points. DPI: dots per inch; at 72 a point is a pixel."""


def png(pixels: Array) -> str:
    """Return an image uint8 [C,H,W], grey or RGB, as a PNG file in base64."""
    buffer = io.BytesIO()
    picture(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def picture(pixels: Array) -> Pillow.Image:
    """Return an image uint8 [C,H,W], grey or RGB, as a Pillow image."""
    from PIL import Image

    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def to_bytes(image: Array) -> Array:
    """Return an image float [C,H,W] in [0,1] as uint8, clamped and rounded."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class PictureTable:
    """Pictures of one size in rows and columns, with names; small pictures are enlarged by an integer factor.

    Attributes:
        cells: Rows of images uint8 [C,H,W], grey or RGB; None for an empty place.
        rows: Names of the rows, which may have several lines.
        columns: Names of the columns, which may have several lines.
        note: A line below the table.
    """

    cells: Sequence[Sequence[Array | None]]
    rows: Sequence[str]
    columns: Sequence[str]
    note: str = ""

    @cached_property
    def cell(self) -> tuple[int, int]:
        """Width and height of a picture as drawn, in pixels."""
        height, width = next(cell.shape[1:] for row in self.cells for cell in row if cell is not None)
        room = max(LEAST, min(LARGEST, WIDEST // len(self.columns) - GAP))
        longer = max(height, width)
        scale = room // longer if longer <= room else room / longer
        return max(1, round(width * scale)), max(1, round(height * scale))

    def draw(self) -> Pillow.Image:
        """Return the table on white, RGB."""
        from PIL import Image

        with _quiet():
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.transforms import Affine2D, Bbox

            figure, corner = Figure(dpi=DPI, facecolor="white"), Affine2D()
            canvas: Any = FigureCanvasAgg(figure)
            (width, height), down = self.cell, self.cell[1] + GAP
            # x, y: pixels right of and above the first picture's upper left corner. The font and the parsing are given
            # because users may have other defaults.
            write = partial(
                figure.text, transform=corner, family="DejaVu Sans", size=LETTERS, usetex=False, parse_math=False
            )
            names = [write(0, GAP, name, ha="center", va="bottom") for name in self.columns]
            across = GAP + max(width, *(GAP + ceil(name.get_window_extent().width) for name in names))
            for c, name in enumerate(names):
                name.set_x(c * across + width / 2)
            for r, text in enumerate(self.rows):
                write(-2 * GAP, -r * down - height / 2, text, ha="right", va="center")
            pictures = Bbox([[0, GAP - len(self.rows) * down], [(len(names) - 1) * across + width, 0]])
            if self.note:
                x = min(text.get_window_extent().x0 for text in figure.texts)
                write(x, pictures.y0 - 2 * GAP, self.note, va="top", color="dimgrey")
            table = Bbox.union([pictures, *(text.get_window_extent() for text in figure.texts)]).padded(MARGIN)
            left, bottom, right, top = (round(edge) for edge in table.extents)
            corner.translate(-left, -bottom)
            figure.set_size_inches((right - left) / DPI, (top - bottom) / DPI)
            for r, row in enumerate(self.cells):
                for c, cell in enumerate(row):
                    if cell is not None:
                        figure.figimage(
                            self._drawn(cell), c * across - left, -r * down - height - bottom, origin="upper"
                        )
            canvas.draw()
            return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    def _drawn(self, cell: Array) -> Array:
        """Return a picture as drawn, RGB uint8 [H,W,3]."""
        from PIL.Image import Resampling

        way = Resampling.NEAREST if cell.shape[2] <= self.cell[0] else Resampling.LANCZOS
        return np.asarray(picture(cell).resize(self.cell, way).convert("RGB"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence matplotlib, which logs that it lists the fonts or has no home folder, and warns of missing glyphs."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
