"""Makes fashion_mnist_1000.npz: 100 test images of each class, in a fixed random order, any ten consecutive balanced.

    python suite/data/make_fashion_subset.py /usr/share/datasets/fashion-mnist

The folder holds the four idx files of https://github.com/zalandoresearch/fashion-mnist (MIT licence).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from purebench.data.datasets import array_hash, read_idx

source = Path(sys.argv[1])
images = read_idx(source / "t10k-images-idx3-ubyte.gz")
labels = read_idx(source / "t10k-labels-idx1-ubyte.gz")
rng = np.random.default_rng(20170825)
per_class = np.stack([rng.permutation(np.flatnonzero(labels == c))[:100] for c in range(10)])
index = np.concatenate([rng.permutation(row) for row in per_class.T])
target = Path(__file__).with_name("fashion_mnist_1000.npz")
np.savez_compressed(target, images=images[index], labels=labels[index], index=index.astype(np.int16))
print(target, "hash", array_hash(images[index], labels[index]))
