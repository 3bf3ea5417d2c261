"""Images as PNG files in base64, for pages."""

from __future__ import annotations

import base64
import io

import numpy as np

from purebench.datasets import Array


def png(pixels: Array) -> str:
    """An image uint8 [C,H,W], grey or RGB, as a PNG file in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        buffer, "PNG"
    )
    return base64.b64encode(buffer.getvalue()).decode()


def to_bytes(image: Array) -> Array:
    """An image float [C,H,W] in [0,1] as uint8, clamped and rounded."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)
