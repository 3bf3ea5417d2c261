"""Finds the images of a search: dev images, which belong to no board."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet, array_hash
from purebench.data.ordering import balanced_order


def shuffled_tail(data: ImageSet, skip: int, seed: int) -> Array:
    """Return positions of the images after the first `skip`, in a random order whose prefixes are balanced.

    Args:
        data: The images.
        skip: Number of images to leave out at the beginning.
        seed: Decides the order.

    Returns:
        [N - skip].

    Raises:
        PurebenchError: If none is left.
    """
    if not 0 <= skip < len(data):
        raise PurebenchError(f"--skip: expected 0 to {len(data) - 1} for {len(data)} images, but got {skip}.")
    return skip + balanced_order(data.labels[skip:], seed)


def boards_of(dataset: Spec, named: Sequence[Board] = ()) -> list[Board]:
    """Return the given boards, and all bundled ones on the same data set.

    Args:
        dataset: The data set.
        named: Boards to include.

    Returns:
        The boards.
    """
    found = {board.name: board for board in named}
    for name, path in bundled().items():
        board = load_board(path)
        if name not in found and board.dataset.use.name == dataset.name:
            found[board.name] = board
    return list(found.values())


def refuse_shared(images: ImageSet, boards: Sequence[Board]) -> list[str]:
    """Check that no image, pixel by pixel, belongs to a board.

    A board whose images are not on this machine cannot be compared, and is left out.

    Args:
        images: Images of the search.
        boards: Boards to compare with.

    Returns:
        Names of the boards whose images were compared.

    Raises:
        PurebenchError: If a board has one of the images.
    """
    here = {array_hash(image) for image in images.images}
    compared = []
    known: dict[str, ImageSet] = {}
    for board in boards:
        use = board.dataset.use
        if str(use) not in known:
            try:
                known[str(use)] = load_images(use)
            except MissingFiles:
                continue
        data = known[str(use)]
        order = balanced_order(data.labels, board.dataset.seed)[: board.dataset.images]
        shared = sum(array_hash(image) in here for image in data.images[np.asarray(order)])
        if shared:
            raise PurebenchError(
                f"--dataset: expected no images of the board {board.name}, but {shared} of its {len(order)} images "
                "are among them, so that the board would be evaluated on images of the search; choose others "
                "(--dataset, --skip)."
            )
        compared.append(board.name)
    return compared
