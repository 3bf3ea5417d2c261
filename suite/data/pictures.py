"""Encodes images as PNG files in base64, for pages, and draws labelled tables of pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from purebench.data.datasets import Array

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL.ImageFont import FreeTypeFont, ImageFont

GAP, MARGIN = 4, 12
"""GAP: pixels between two pictures of a table. MARGIN: pixels around the table."""
WIDEST, LARGEST, LEAST = 1800, 96, 48
"""WIDEST: largest total width of a table's pictures, in pixels. LARGEST, LEAST: largest and smallest size of one
picture."""
LETTERS = 14
"""Font size of a table, in pixels."""


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

    @cached_property
    def corner(self) -> tuple[int, int]:
        """Left and upper edge of the first picture, beside the rows' names and below the columns' names, in pixels."""
        widest = max(_extent(name)[0] for name in self.rows)
        return MARGIN + widest + 2 * GAP, MARGIN + max(_extent(name)[1] for name in self.columns) + GAP

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the left, upper, right and lower edge of a picture, in pixels."""
        (left, top), (width, height) = self.corner, self.cell
        x, y = left + column * (self.pitch + GAP) + (self.pitch - width) // 2, top + row * (height + GAP)
        return x, y, x + width, y + height

    @cached_property
    def pitch(self) -> int:
        """Width of a column, of its picture or its name, in pixels."""
        return max(self.cell[0], *(_extent(name)[0] + GAP for name in self.columns))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole table, in pixels."""
        left, top = self.corner
        wide, high = _extent(self.note)
        width = max(left + len(self.columns) * (self.pitch + GAP) - GAP, MARGIN + wide)
        height = top + len(self.cells) * (self.cell[1] + GAP) - GAP
        return width + MARGIN, height + MARGIN + (high + 2 * GAP if self.note else 0)

    def draw(self) -> Pillow.Image:
        """Return the table on white, RGB."""
        from PIL import Image, ImageDraw

        sheet = Image.new("RGB", self.size, "white")
        write = ImageDraw.Draw(sheet)
        way = Image.Resampling
        for r, row in enumerate(self.cells):
            for c, cell in enumerate(row):
                if cell is not None:
                    filtered = way.NEAREST if cell.shape[2] <= self.cell[0] else way.LANCZOS
                    sheet.paste(picture(cell).resize(self.cell, filtered), self.box(r, c)[:2])
            _, upper, _, lower = self.box(r, 0)
            place = (self.corner[0] - 2 * GAP, (upper + lower) // 2)
            write.multiline_text(place, self.rows[r], fill="black", font=_font(), anchor="rm", align="right")
        for c, name in enumerate(self.columns):
            left, upper, right, _ = self.box(0, c)
            place = ((left + right) // 2, upper - GAP)
            write.multiline_text(place, name, fill="black", font=_font(), anchor="md", align="center")
        if self.note:
            place = (MARGIN, self.box(len(self.cells) - 1, 0)[3] + 2 * GAP)
            write.multiline_text(place, self.note, fill="dimgrey", font=_font(), anchor="la")
        return sheet


def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(LETTERS)


def _extent(text: str) -> tuple[int, int]:
    """Return the width and height of lines of text."""
    from PIL import Image, ImageDraw

    _, _, right, lower = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=_font())
    return round(right + 0.5), round(lower + 0.5)
