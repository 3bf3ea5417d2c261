"""Makes cifar10_hashes.npz: the hashes of the test and dev images of a JPEG copy of CIFAR-10.

    python suite/data/jpeg_copy/make_hashes.py FOLDER

The folder holds cifar10_jpeg_train.npz and cifar10_jpeg_test.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from purebench.data.datasets import cifar10
from purebench.data.jpeg_copy.cifar10 import DEV_IMAGES, HASHES, pixel_hashes
from purebench.data.splits import TEST, TRAIN


def main(folder: Path) -> None:
    """Write the hashes beside this script."""
    copies = {split: cifar10(npz=str(folder / f"cifar10_jpeg_{split}.npz")).images for split in (TEST, TRAIN)}
    test, dev = pixel_hashes(copies[TEST]), pixel_hashes(copies[TRAIN][-DEV_IMAGES:])
    np.savez(HASHES, test=test, dev=dev)
    print(HASHES, len(np.unique(test)), len(np.unique(dev)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
