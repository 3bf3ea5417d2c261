"""Purifiers without a model, which serve as controls on every board."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.defense import Defense, Purifier
from purebench.core.defense.listed import listed
from purebench.core.parameters import MOST, Positive, checked

Levels = Annotated[int, Field(ge=2, le=MOST)]


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur images by a depthwise Gaussian filter with reflected borders, cut off at four standard deviations.

    Args:
        x: images [N,C,H,W].
        sigma: standard deviation in pixels.
    """
    half = min(max(1, math.ceil(4 * sigma)), min(x.shape[-2:]) - 1)
    grid = torch.arange(-half, half + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (grid / sigma).square())
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = functional.pad(x, (half, half, half, half), mode="reflect")
    rows = functional.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
    return functional.conv2d(rows, kernel[:, :, :, None], groups=x.shape[1])


class GaussianBlur(Purifier):
    """Gaussian blur.

    Args:
        sigma: standard deviation in pixels.
    """

    random = False

    @checked("gaussian-blur")
    def __init__(self, sigma: Positive):
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Return blurred images."""
        return gaussian_blur(x, self.sigma)


class GaussianNoise(Purifier):
    """Gaussian noise, drawn anew at each pass; the result is clamped to [0,1].

    Args:
        sigma: standard deviation in units of [0,1].
    """

    random = True

    @checked("gaussian-noise")
    def __init__(self, sigma: Positive):
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Return noisy images."""
        return (x + self.sigma * torch.randn_like(x)).clamp(0, 1)


class Quantise(Purifier):
    """Rounding to a few grey levels; not differentiable, its exact gradient is zero almost everywhere.

    This is the bit-depth reduction of Xu et al. 2018 (arXiv:1704.01155), which BPDA with the identity breaks.

    Args:
        levels: number of grey levels, at least 2.
    """

    random = False

    @checked("quantise")
    def __init__(self, levels: Levels):
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """Return images whose values are multiples of 1/(levels-1)."""
        return torch.round(x * (self.levels - 1)) / (self.levels - 1)


@listed(random=False, gradient="exact", surrogate="none", forwards=0, licence="MIT", source="control")
def none(*, classifier: nn.Module) -> Defense:
    """Return the board's classifier without a defense."""
    return Defense(classifier)


@listed(random=True, gradient="exact", surrogate="identity", forwards=0, licence="MIT", source="control")
def gaussian_noise(*, sigma: Positive = 0.1) -> GaussianNoise:
    """Add Gaussian noise to the image (a control).

    Args:
        sigma: standard deviation in units of [0,1].
    """
    return GaussianNoise(sigma)


@listed(random=False, gradient="exact", surrogate="identity", forwards=0, licence="MIT", source="control")
def blur(*, sigma: Positive = 1.0) -> GaussianBlur:
    """Blur the image by a Gaussian filter (a control).

    Args:
        sigma: standard deviation in pixels.
    """
    return GaussianBlur(sigma)


@listed(
    random=False,
    gradient="zero",
    surrogate="identity",
    forwards=0,
    licence="MIT",
    source="Xu et al. 2018, arXiv:1704.01155",
)
def quantise(*, levels: Levels = 8) -> Quantise:
    """Round to a few grey levels, which masks the gradient (a control).

    Args:
        levels: number of grey levels, at least 2.
    """
    return Quantise(levels)
