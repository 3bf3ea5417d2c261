"""Derives a board on dev images from a board: what searches (`tune`, `break`, `try`) measure on."""

from __future__ import annotations

from dataclasses import replace

from purebench.boards.board import Board
from purebench.core.errors import PurebenchError
from purebench.data.adapt import load_images
from purebench.data.dev_images import dev_spec
from purebench.data.splits import DEV


def dev_board(board: Board, images: int | None = None) -> Board:
    """Return the board on the dev images of its data set, none of which is an image of the board.

    Args:
        board: The board.
        images: Number of images; None for the board's, or for all dev images if they are fewer.

    Raises:
        PurebenchError: If the data set has no dev images, or fewer than `images`.
    """
    data = board.dataset
    use = dev_spec(data.use, data.images, data.seed)
    found = load_images(use)
    if found.split != DEV:
        raise PurebenchError(
            f"{use}: expected the dev images of {data.use}, but got images of the split {found.split!r}; return an "
            "ImageSet with split='dev' for the parameter split=dev."
        )
    if images is not None and images > len(found):
        raise PurebenchError(
            f"--images: expected at most {len(found)}, the number of dev images of {data.use}, but got {images}; use "
            "fewer."
        )
    count = min(data.images, len(found)) if images is None else images
    return replace(board, dataset=replace(data, use=use, images=count, block=min(data.block, count)))
