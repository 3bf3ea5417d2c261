"""A differentiable median: a weighted mean of all pixels of a window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from purebench import PurebenchError, Purifier


class SoftMedian(Purifier):
    """Replaces each pixel by a mean of its window in which values near the median have the largest weights.

    size: side of the window in pixels, odd. width: distance from the median, in units of [0,1], at which the weight is
    e^(-1/2) of that of the median; in the limit 0 the result is the median.
    """

    random = False

    def __init__(self, size: int, width: float):
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise PurebenchError(f"soft-median: expected an odd size, such as 3, but got {size!r}.")
        if width <= 0:
            raise PurebenchError(f"soft-median: expected a width above 0, such as 0.05, but got {width!r}.")
        self.size, self.width = size, width

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images [N,C,H,W] in [0,1] of images of the same shape and range."""
        border = self.size // 2
        padded = functional.pad(x, (border,) * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        off = (windows - windows.median(dim=4, keepdim=True).values) / self.width
        weights = torch.softmax(-0.5 * off**2, dim=4)
        return (weights * windows).sum(dim=4)


def soft_median(size: int = 3, width: float = 0.05) -> SoftMedian:
    """Return a differentiable median of each neighbourhood."""
    return SoftMedian(size, width)
