"""Derives a board on dev images from a board: what searches (`tune`, `break`, `try`) measure on."""

from __future__ import annotations

from dataclasses import replace

from purebench.boards.board import Board
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.data.adapt import load_images
from purebench.data.dev_images import NAME, dev_spec
from purebench.data.image_set import ImageSet
from purebench.data.splits import DEV, without


def dev_board(board: Board, images: int | None = None) -> Board:
    """Return the board on the dev images of its data set, none of which is an image of the board's data set.

    Dev images of a data set without declared splits are chosen beside the images of the board.

    Args:
        board: The board.
        images: Number of images; None for the board's, or for all dev images if they are fewer.

    Raises:
        PurebenchError: If the data set has no dev images, or fewer than `images`, or one of them is also an image of
            the board's data set, by its id or by its pixels.
    """
    data = board.dataset
    use = dev_spec(data.use, data.images, data.seed)
    found = load_images(use)
    if found.split != DEV:
        raise PurebenchError(
            f"{use}: expected the dev images of {data.use}, but got images of the split {found.split!r}; return an "
            "ImageSet with split='dev' for the parameter split=dev."
        )
    if use.name != NAME and use != data.use:
        _refuse_shared(found, load_images(data.use), data.use)
    if images is not None and images > len(found):
        raise PurebenchError(
            f"--images: expected at most {len(found)}, the number of dev images of {data.use}, but got {images}; use "
            "fewer."
        )
    count = min(data.images, len(found)) if images is None else images
    return replace(board, dataset=replace(data, use=use, images=count, block=min(data.block, count)))


def _refuse_shared(dev: ImageSet, own: ImageSet, use: Spec) -> None:
    """Raise PurebenchError if a dev image is also an image of the board's data set, all of which a board may use."""
    if shared := len(dev) - len(without(dev, own)):
        raise PurebenchError(
            f"{use}: expected a data set that has none of its dev images, but {shared} of {len(dev)} dev images have "
            "the id or the pixels of one of its images, so that the board would be evaluated on images of the search; "
            "use another split for the board (split=test), or correct the images that the data set returns for "
            "split=dev."
        )
