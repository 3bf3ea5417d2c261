"""Makes cifar10_hashes.npz: the hashes of the test and dev images, and of their labels, of a JPEG copy of CIFAR-10.

    python suite/data/jpeg_copy/make_hashes.py FOLDER

The folder holds cifar10_jpeg_train.npz and cifar10_jpeg_test.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from purebench.data.datasets import cifar10
from purebench.data.jpeg_copy.cifar10 import DEV_IMAGES, HASHES, label_hash, pixel_hashes
from purebench.data.splits import DEV, TEST, TRAIN


def main(folder: Path) -> None:
    """Write the hashes beside this script."""
    copies = {split: cifar10(npz=str(folder / f"cifar10_jpeg_{split}.npz")) for split in (TEST, TRAIN)}
    parts = {TEST: copies[TEST], DEV: copies[TRAIN].take(range(len(copies[TRAIN]))[-DEV_IMAGES:])}
    images = {part: pixel_hashes(found.images) for part, found in parts.items()}
    labels: dict[str, Any] = {f"{part} labels": label_hash(found.labels) for part, found in parts.items()}
    np.savez(HASHES, **labels, test=images[TEST], dev=images[DEV])
    print(HASHES, *(len(np.unique(found)) for found in images.values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
