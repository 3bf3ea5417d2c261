"""Reads picture files as arrays of one shape: without loss of precision, resized and cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purebench.core.errors import PurebenchError, shown
from purebench.data.image_set import Array

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
BYTES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
"""Pillow's modes of at most 8 bits a value."""
LONGEST = 16_384
"""Longest allowed side, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The steps from a picture to the shape that the classifier expects; interpolation is bilinear with antialiasing.

    Attributes:
        size: Height and width that pictures of this aspect ratio are resized to.
        squash: Resize pictures of other aspect ratios to `size` too, which distorts them.
        resize: Length that the shorter side is resized to, the longer one in proportion, rounded down.
        center_crop: Height and width of the central part that is kept.
    """

    size: tuple[int, int] | None = None
    squash: bool = False
    resize: int | None = None
    center_crop: tuple[int, int] | None = None

    @classmethod
    def checked(cls, size: Any, squash: Any, resize: Any, center_crop: Any) -> Geometry:
        """Create a geometry from the parameters of a data set; a single side means a square.

        Args:
            size: As in `Geometry`.
            squash: As in `Geometry`.
            resize: As in `Geometry`.
            center_crop: As in `Geometry`.

        Raises:
            PurebenchError: If a parameter has a wrong type or range, or the parameters do not go together.
        """
        if not isinstance(squash, bool):
            raise PurebenchError(f"image-folder: squash: expected true or false, but got {shown(squash)}.")
        if size is not None and not (resize is None and center_crop is None):
            raise PurebenchError(
                "image-folder: expected either size, or resize and center_crop, but got both; remove size."
            )
        if squash and size is None:
            raise PurebenchError("image-folder: expected size together with squash, but got none; give size.")
        return cls(
            size=None if size is None else _sides("size", size),
            squash=squash,
            resize=None if resize is None else _side("resize", resize),
            center_crop=None if center_crop is None else _sides("center_crop", center_crop),
        )

    def apply(self, picture: Picture, path: Path) -> Picture:
        """Resize and crop a picture.

        Args:
            picture: The picture.
            path: Its file, for messages.

        Raises:
            PurebenchError: If `size` would distort the picture, a side would become too long, or the crop exceeds the
                picture.
        """
        from PIL.Image import Resampling

        width, height = picture.size
        if self.size is not None:
            if not self.squash and not _same_ratio((height, width), self.size):
                raise PurebenchError(
                    f"{path}: expected a picture with the aspect ratio of size {list(self.size)}, but got "
                    f"{[height, width]} pixels, which would be distorted; use resize={max(self.size)} and "
                    f"center_crop={list(self.size)} instead of size, another size=[H, W], or squash=true."
                )
            return picture.resize(self.size[::-1], Resampling.BILINEAR)
        if self.resize is not None and self.resize != min(width, height):
            shorter = min(width, height)
            width, height = self.resize * width // shorter, self.resize * height // shorter
            if max(width, height) > LONGEST:
                raise PurebenchError(
                    f"{path}: expected sides of at most {LONGEST} pixels after resizing, but got "
                    f"{[height, width]}; use a smaller resize."
                )
            picture = picture.resize((width, height), Resampling.BILINEAR)
        if self.center_crop is not None:
            high, wide = self.center_crop
            if high > height or wide > width:
                raise PurebenchError(
                    f"{path}: expected at least {[high, wide]} pixels to crop, but got {[height, width]}; use a "
                    "larger resize, or a smaller center_crop."
                )
            top, left = round((height - high) / 2), round((width - wide) / 2)
            picture = picture.crop((left, top, left + wide, top + high))
        return picture


def read_pictures(paths: Sequence[Path], geometry: Geometry, *, grey: bool) -> Array:
    """Read pictures.

    Args:
        paths: At least one file.
        geometry: The steps to one shape.
        grey: One channel instead of three.

    Returns:
        [N,C,H,W], uint8 if no picture has more than 8 bits per value, else float32 in [0,1].

    Raises:
        PurebenchError: If a file is damaged, has values of an unknown range, or another shape than those before.
    """
    images: list[Array] = []
    for path in paths:
        picture = geometry.apply(_read(path, grey), path)
        image = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
        if images and image.shape[1:] != images[0].shape[1:]:
            raise PurebenchError(
                f"{path}: expected {list(images[0].shape[1:])} pixels, as in the pictures before it, but got "
                f"{list(image.shape[1:])}; use resize and center_crop, or size."
            )
        if image.dtype != np.uint8:
            image = np.repeat(image.clip(0, 1), 1 if grey else 3, axis=0)
        images.append(image)
    if any(image.dtype != np.uint8 for image in images):
        images = [image if image.dtype != np.uint8 else image.astype(np.float32) / np.float32(255) for image in images]
    return np.stack(images)


def _read(path: Path, grey: bool) -> Picture:
    """Return a picture as grey or RGB bytes, or as one channel of floats in [0,1] if the file has more than 8 bits."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.mode in BYTES:
                return file.convert("L" if grey else "RGB")
            mode, kind, values = file.mode, file.format, np.asarray(file, dtype=np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PurebenchError(
            f"{path}: expected a picture, but it is truncated or damaged ({error}); download it again."
        ) from error
    whole = mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM"))
    if whole or mode == "F":
        values = values / np.float32(65535) if whole else values
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return Image.fromarray(values)
        mode = f"{mode}, from {low:g} to {high:g}"
    raise PurebenchError(
        f"{path}: expected 8 or 16 bits per value, or floats in [0,1], but got {kind} of mode {mode}; convert it."
    )


def _same_ratio(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether resizing in proportion to one side of `size` gives the other, rounded."""
    (height, width), (high, wide) = shape, size
    return 2 * abs(high * width - wide * height) <= min(height, width)


def _sides(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return _side(name, value[0]), _side(name, value[1])
    side = _side(name, value)
    return side, side


def _side(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LONGEST:
        pair = "" if name == "resize" else ", or [height, width]"
        raise PurebenchError(
            f"image-folder: {name}: expected a whole number of pixels from 1 to {LONGEST}{pair}, but got "
            f"{shown(value)}."
        )
    return value
