"""Which images a search may see: held-out ones, none of them a board's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet, array_hash
from purebench.execution.context import balanced_order

HELD_OUT: Mapping[str, tuple[Spec, int]] = {"fashion-mnist": (Spec("fashion-mnist", {"split": "train"}), 55_000)}
"""Where the images are that no recipe trains on, by the name of a board's dataset: the dataset, and how many to skip.

The recipes in defenses/training leave out the last 5,000 of the training images.
"""


def held_out(board: Board) -> tuple[Spec, int]:
    """The dataset, and how many of its images to skip to come to those that nothing was trained on.

    Raises PurebenchError if none are known.
    """
    name = board.dataset.use.name
    if name not in HELD_OUT:
        raise PurebenchError(
            f"--dataset: expected images that are not those of the board {board.name}, but none are known for {name}; "
            "name some (--dataset, --skip)."
        )
    return HELD_OUT[name]


def shuffled_tail(data: ImageSet, skip: int, seed: int) -> Array:
    """Positions [N - skip] of the images after the first `skip`, in a random order whose prefixes are balanced.

    Raises PurebenchError if none is left.
    """
    if not 0 <= skip < len(data):
        raise PurebenchError(f"--skip: expected 0 to {len(data) - 1} for {len(data)} images, but got {skip}.")
    return skip + balanced_order(data.labels[skip:], seed)


def boards_of(dataset: Spec, named: Sequence[Board] = ()) -> list[Board]:
    """The boards named, and all bundled ones on the same dataset."""
    found = {board.name: board for board in named}
    for name, path in bundled().items():
        board = load_board(path)
        if name not in found and board.dataset.use.name == dataset.name:
            found[board.name] = board
    return list(found.values())


def refuse_shared(images: ImageSet, boards: Sequence[Board]) -> list[str]:
    """The boards whose images were compared, by name. Raises PurebenchError if any image, pixel by pixel, is theirs.

    A board whose images are not on this machine cannot be compared, and is left out.
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
                f"--dataset: expected images apart from those of the board {board.name}, but {shared} of its "
                f"{len(order)} are among them, and a list tuned on a board's images proves nothing there; "
                "name others (--dataset, --skip)."
            )
        compared.append(board.name)
    return compared
