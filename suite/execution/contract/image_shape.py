"""Finds out whether a part of a defense takes images of another shape than those of the data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded

SIDES = (28, 32, 64, 96, 128, 160, 224, 256, 299, 384)
"""Usual heights and widths of images, in pixels."""
CHANNELS = (1, 3)
OF_SHAPES = re.compile(r"channels, but got|shapes cannot be multiplied|size mismatch|must match the size|to have \d")
"""Errors of torch about shapes."""


@torch.no_grad()
def check_image_shape(defense: Defense, x: Tensor, error: Exception) -> None:
    """Raise an error if the purifier or the classifier fails because of the shape of the images.

    It does if it fails on every image of the shape and passes one of another shape, or if its error is one of torch's
    about shapes. Other errors are left to the jobs, which attribute them to the images that cause them.

    Args:
        defense: a copy of the defense, which is not used afterwards.
        x: images [N,C,H,W] in [0,1].
        error: the error of the defense at the first of them.

    Raises:
        PurebenchError: the purifier or the classifier takes images of another shape.
    """
    part: str = "purifier"
    function: Callable[[Tensor], object] = defense.purify
    images = x
    if (purified := _passed(defense.purify, x[:1])) is not None:
        part, function, images = "classifier", defense.classifier, purified
    tried = (images[:1], images[-1:], torch.full_like(images[:1], 0.5))
    if images.ndim != 4 or any(_passed(function, other) is not None for other in tried):
        return
    usual = (images.new_full(shape, 0.5) for shape in _shapes(images))
    takes = next((list(other.shape[1:]) for other in usual if _passed(function, other) is not None), None)
    told = " ".join(str(error).split())[:200]
    if takes is None and not OF_SHAPES.search(told):
        return
    found = "it fails" if takes is None else f"it takes {takes}"
    raise PurebenchError(
        f"expected a {part} that accepts images of shape {list(images.shape[1:])}, but {found} ({told}); convert "
        f"them inside the {part}, or choose a data set of that shape."
    )


def _passed(function: Callable[[Tensor], object], x: Tensor) -> Tensor | None:
    """Return the answer of a function to images, if it gives a tensor for them and raises no error."""
    try:
        with seeded("contract", device=x.device):
            found = function(x.clone())
    except Exception:
        return None
    return found if isinstance(found, Tensor) else None


def _shapes(x: Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Yield shapes of one image: other channels first, then other sizes, then both."""
    channels = [number for number in CHANNELS if number != x.shape[1]]
    sides = [side for side in SIDES if (side, side) != tuple(x.shape[2:])]
    yield from ((1, number, x.shape[2], x.shape[3]) for number in channels)
    yield from ((1, x.shape[1], side, side) for side in sides)
    yield from ((1, number, side, side) for side in sides for number in channels)
