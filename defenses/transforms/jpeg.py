"""JPEG compression (Dziugaite et al. 2016, arXiv:1608.00853; Guo et al. 2018, arXiv:1711.00117) and a smooth surrogate.

The surrogate is JPEG itself (ITU T.81: level shift, 8×8 cosine transform, division by the standard's tables, rounding,
and back), with a differentiable rounding: r(v) = [v] + (v - [v])³ (Shin & Song 2017).
"""

from __future__ import annotations

import io
import math
from functools import cache
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.core.files.validation_errors import Expected
from purebench.core.parameters import checked

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation table of the luminance (T.81, table K.1)."""
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantisation table of the two chrominance channels (T.81, table K.2)."""
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Matrix from red, green and blue to luminance and chrominance (JFIF)."""


@cache
def cosines() -> Tensor:
    """Return the orthonormal cosine transform of 8 values, [8,8] (T.81, A.3.3), in float64."""
    place, wave = torch.arange(8, dtype=torch.float64), torch.arange(8, dtype=torch.float64)[:, None]
    basis = 0.5 * torch.cos((2 * place + 1) * wave * math.pi / 16)
    basis[0] /= math.sqrt(2)
    return basis


def quantisation(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Scale a quantisation table to a quality like the Independent JPEG Group's library.

    Args:
        table: table of T.81.
        quality: quality in 1..100.

    Returns:
        The scaled table [8,8].
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * scale + 50) // 100).clamp(1, 255).double()


def soft_round(value: Tensor) -> Tensor:
    """Return [v] + (v - [v])³: rounding with derivative 0 at integers and 3/4 half-way between them."""
    whole = value.detach().round()
    return whole + (value - whole) ** 3


def coded(plane: Tensor, table: Tensor) -> Tensor:
    """Quantise the coefficients of 8×8 blocks with soft rounding.

    Args:
        plane: planes [N,H,W] in 0..255, with any H and W.
        table: quantisation table [8,8].

    Returns:
        The decoded planes [N,H,W].
    """
    height, width = plane.shape[1:]
    padded = functional.pad(plane[:, None], (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.view(-1, rows, 8, columns, 8).transpose(2, 3) - 128
    basis, steps = cosines().to(plane), table.to(plane)
    found = soft_round(basis @ blocks @ basis.T / steps) * steps
    back = (basis.T @ found @ basis + 128).transpose(2, 3).reshape(padded.shape)
    return back[:, :height, :width]


Quality = Annotated[int, Field(ge=1, le=95), Expected("a whole number in 1..95")]


class JPEG(Purifier):
    """JPEG compression of each image by Pillow with its defaults; grey or RGB.

    Args:
        quality: quality in 1..95.
    """

    random = False
    differentiable = False

    @checked("jpeg")
    def __init__(self, quality: Quality):
        super().__init__()
        self.quality = quality

    def forward(self, x: Tensor) -> Tensor:
        """Return the decoded images, without a gradient.

        Args:
            x: images [N,1 or 3,H,W] in [0,1].

        Raises:
            PurebenchError: If the images have another number of channels.
        """
        if x.shape[1] not in (1, 3):
            raise PurebenchError(
                f"jpeg: expected images with 1 or 3 channels, but got {x.shape[1]}; use another defense."
            )
        pixels = (x.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
        read = np.stack([self._through_a_file(image) for image in pixels])
        return torch.as_tensor(read).to(x) / 255

    def _through_a_file(self, image: np.ndarray) -> np.ndarray:
        grey = image.shape[0] == 1
        file = io.BytesIO()
        Image.fromarray(image[0] if grey else image.transpose(1, 2, 0)).save(file, "JPEG", quality=self.quality)
        read = np.asarray(Image.open(file))
        return read[None] if grey else read.transpose(2, 0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the same compression with soft rounding, in [0,1]; chrominance at half resolution, as in Pillow."""
        bright = quantisation(LUMINANCE, self.quality)
        if x.shape[1] == 1:
            return coded(255 * x[:, 0], bright)[:, None] / 255
        mixing = torch.tensor(TO_YCBCR).to(x)
        planes = torch.einsum("ij,njhw->nihw", mixing, 255 * x)
        colour = quantisation(CHROMINANCE, self.quality)
        size = planes.shape[2:]
        halved = functional.avg_pool2d(planes[:, 1:] + 128, 2, ceil_mode=True, count_include_pad=False)
        colours = coded(halved.flatten(0, 1), colour).view(halved.shape) - 128
        full = functional.interpolate(colours, scale_factor=2.0, mode="bilinear")[:, :, : size[0], : size[1]]
        found = torch.cat([coded(planes[:, 0], bright)[:, None], full], 1)
        return torch.einsum("ij,njhw->nihw", torch.linalg.inv(mixing), found) / 255


@listed(
    random=False,
    gradient="none",
    surrogate="smooth JPEG",
    forwards=0,
    licence="MIT",
    source="Dziugaite et al. 2016, arXiv:1608.00853",
)
def jpeg(*, quality: Quality = 50) -> JPEG:
    """Compress images as JPEG; the surrogate rounds smoothly.

    Args:
        quality: quality in 1..95.
    """
    return JPEG(quality)
