"""A purifier that sets random pixels to zero: an honest random defense for benchmarks/grades.py."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench import Purifier


class PixelDropout(Purifier):
    """Sets each pixel to zero with a fixed probability.

    Args:
        share: the probability.
    """

    random = True

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return the images [N,C,H,W] with some pixels at zero, in all channels at once."""
        return x * (torch.rand(len(x), 1, *x.shape[2:], device=x.device) >= self.share)


def pixel_dropout(*, share: float = 0.05) -> PixelDropout:
    """Return the purifier."""
    return PixelDropout(share)
