"""Determines the order in which a board uses the images of a data set."""

from __future__ import annotations

import numpy as np

from purebench.data.image_set import Array


def balanced_order(labels: Array, seed: int) -> Array:
    """Return a random order of the images in which every prefix is as class-balanced as possible.

    The classes take turns, in a new random order each round; within a class the order is random.

    Args:
        labels: int [N].
        seed: determines the order.

    Returns:
        Positions, int64 [N].
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return np.lexsort((rng.random(len(labels)), rank))
