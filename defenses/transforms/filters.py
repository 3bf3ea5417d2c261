"""Purifiers that use neighbourhoods of pixels: median, total variation, random resizing and padding."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.core.files.validation_errors import Expected
from purebench.core.parameters import MOST, Count, InnerShare, Positive, PositiveShare, checked

Side = Annotated[int, Field(ge=3, le=MOST), Expected("an odd whole number of at least 3")]


class Median(Purifier):
    """Median of each size×size neighbourhood, with reflected borders (Xu et al. 2018, arXiv:1704.01155).

    Args:
        size: side of the neighbourhood in pixels, odd and at least 3.
    """

    random = False

    @checked("median")
    def __init__(self, size: Side):
        super().__init__()
        if size % 2 == 0:
            raise PurebenchError(f"median: size: expected an odd whole number of at least 3, but got {size}.")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the medians; the gradient goes to the pixel that is the median."""
        half = self.size // 2
        padded = functional.pad(x, (half,) * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(4).median(dim=4).values


class TotalVariation(Purifier):
    """Total-variation minimisation by gradient descent.

    It minimises ½‖mask·(u - x)‖² + weight·Σ sqrt(|∇u|² + smooth²) over u (Guo et al. 2018, arXiv:1711.00117). The
    authors keep a random part of the pixels (`keep` < 1) and restore the others. The smoothed variation makes each step
    differentiable, so the exact gradient goes through all of them.

    Args:
        weight: weight of the total variation, above 0.
        steps: steps of gradient descent.
        keep: share of the pixels that is kept, in (0,1].
        smooth: smoothing of the total variation.
    """

    @checked("tv-minimisation")
    def __init__(self, weight: Positive, steps: Count, keep: PositiveShare, smooth: Positive = 0.03):
        super().__init__()
        self.weight, self.steps, self.keep, self.smooth, self.random = weight, steps, keep, smooth, keep < 1

    def forward(self, x: Tensor) -> Tensor:
        """Return images near x with small total variation, in [0,1]."""
        mask = (torch.rand_like(x[:, :1]) < self.keep).to(x) if self.random else torch.ones_like(x[:, :1])
        length = 1 / (1 + 8 * self.weight / self.smooth)  # inverse of an upper bound of the second derivative
        state, before, momentum = x * mask, x * mask, 1.0
        for _ in range(self.steps):  # Nesterov's acceleration, as in FISTA
            after = 0.5 * (1 + (1 + 4 * momentum**2) ** 0.5)
            ahead = state + (momentum - 1) / after * (state - before)
            before, momentum = state, after
            state = ahead - length * (mask * (ahead - x) + self.weight * self.slope(ahead))
        return state.clamp(0, 1)

    def slope(self, u: Tensor) -> Tensor:
        """Return the gradient of the smoothed total variation at u: minus the divergence of ∇u/|∇u|."""
        down = functional.pad(u[:, :, 1:] - u[:, :, :-1], (0, 0, 0, 1))
        right = functional.pad(u[:, :, :, 1:] - u[:, :, :, :-1], (0, 1))
        size = (down.square() + right.square() + self.smooth**2).sqrt()
        down, right = down / size, right / size
        return functional.pad(down, (0, 0, 1, 0))[:, :, :-1] - down + functional.pad(right, (1, 0))[..., :-1] - right


class ResizePad(Purifier):
    """Random resizing and padding: each image is shrunk to a random size and placed at random on black.

    Xie et al. 2018 (arXiv:1711.01991) enlarge before padding; classifiers of a fixed input size require shrinking
    instead.

    Args:
        smallest: smallest size as a share of the image's side, in (0,1).
    """

    random = True

    @checked("random-resize-pad")
    def __init__(self, smallest: InnerShare):
        super().__init__()
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same shape, each with its own size and place; bilinear, differentiable in x."""
        side = 1 - (1 - self.smallest) * torch.rand(len(x), device=x.device, dtype=x.dtype)
        room = (1 - side) * 2  # in the grid's units, where the image spans -1 to 1
        place = (torch.rand(len(x), 2, device=x.device, dtype=x.dtype) - 0.5) * room[:, None]
        frame = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
        frame[:, 0, 0] = frame[:, 1, 1] = 1 / side
        frame[:, :, 2] = -place / side[:, None]
        grid = functional.affine_grid(frame, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@listed(
    random=False,
    gradient="exact",
    surrogate="identity",
    forwards=0,
    licence="MIT",
    source="Xu et al. 2018, arXiv:1704.01155",
)
def median(*, size: Side = 3) -> Median:
    """Replace each pixel by the median of its neighbourhood.

    Args:
        size: side of the neighbourhood in pixels, odd and at least 3.
    """
    return Median(size)


@listed(
    random=False,
    gradient="exact",
    surrogate="identity",
    forwards=0,
    licence="MIT",
    source="Guo et al. 2018, arXiv:1711.00117",
)
def tv_minimisation(*, weight: Positive = 0.1, steps: Count = 40, keep: PositiveShare = 1.0) -> TotalVariation:
    """Minimise the total variation, from all pixels or a random part of them (Guo et al. 2018).

    Args:
        weight: weight of the total variation, above 0.
        steps: steps of gradient descent.
        keep: share of the pixels that is kept, in (0,1].
    """
    return TotalVariation(weight, steps, keep)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=0,
    licence="MIT",
    source="Xie et al. 2018, arXiv:1711.01991",
)
def random_resize_pad(*, smallest: InnerShare = 0.8) -> ResizePad:
    """Shrink images to a random size and place them at random (Xie et al. 2018).

    Args:
        smallest: smallest size as a share of the image's side, in (0,1).
    """
    return ResizePad(smallest)
