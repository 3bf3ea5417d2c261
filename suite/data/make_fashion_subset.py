"""Makes fashion_mnist_1000.npz and fashion_mnist_dev_500.npz: 100 and 50 test images of each class, disjoint.

Both are in a fixed random order in which any ten consecutive images are class-balanced. The dev images are drawn from
the official test images that are not among the 1,000.

    python suite/data/make_fashion_subset.py /usr/share/datasets/fashion-mnist

The folder holds the four idx files of https://github.com/zalandoresearch/fashion-mnist (MIT licence).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from purebench.data.datasets import Array, array_hash, read_idx


def balanced(rng: np.random.Generator, labels: Array, allowed: Array, count: int) -> Array:
    """Return the positions of `count` allowed images of each class; any ten consecutive positions are balanced."""
    per_class = [rng.permutation(np.flatnonzero(allowed & (labels == label)))[:count] for label in range(10)]
    return np.concatenate([rng.permutation(row) for row in np.stack(per_class).T])


def main(source: Path) -> None:
    """Write both files beside this script."""
    images = read_idx(source / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(source / "t10k-labels-idx1-ubyte.gz")
    allowed = np.ones(len(labels), dtype=np.bool_)
    for name, count, seed in (("fashion_mnist_1000.npz", 100, 20170825), ("fashion_mnist_dev_500.npz", 50, 20170826)):
        index = balanced(np.random.default_rng(seed), labels, allowed, count)
        allowed[index] = False
        target = Path(__file__).with_name(name)
        np.savez_compressed(target, images=images[index], labels=labels[index], index=index.astype(np.int16))
        print(target, "hash", array_hash(images[index], labels[index]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
