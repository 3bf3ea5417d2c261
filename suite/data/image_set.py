"""Defines the type of labelled images, and the hash of images that is part of every job's key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageSet:
    """Labelled images. `purebench.data.adapt.load_images` validates the result of a data set factory.

    Attributes:
        name: Name of the data set.
        images: [N,C,H,W], uint8 in 0 … 255 or float32 in [0,1].
        labels: int64 [N], positions in `classes` and outputs of the classifier.
        classes: The name of each class, in the order of the classifier's outputs.
        source: Where the images were read from, for display.
        ids: A stable, unique name of each image in its data set, such as test-17; empty if the content of an image is
            its id.
        split: Part of the data set that the images are: `dev`, `test` or `train`; empty if the data set is not divided.
            Searches (`tune`, `break`, `try`) use dev images, and boards do not (see `splits`).
    """

    name: str
    images: Array
    labels: Array
    classes: tuple[str, ...]
    source: str
    ids: tuple[str, ...] = ()
    split: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def hash(self) -> str:
        """sha256 of images and labels with their types, 64 hex digits."""
        return array_hash(self.images, self.labels)

    def take(self, index: Sequence[int] | Array) -> ImageSet:
        """Return the images at `index`, in that order."""
        ids = tuple(self.ids[int(place)] for place in index) if self.ids else ()
        return replace(self, images=self.images[index], labels=self.labels[index], ids=ids)

    @property
    def identities(self) -> tuple[str, ...]:
        """The id of each image: the declared one, else the sha256 of its pixels, which a copy of it shares."""
        return self.ids or tuple(array_hash(image) for image in self.images)

    def floats(self) -> Array:
        """Return the images as float32 [N,C,H,W] in [0,1]; float images are never divided."""
        if np.issubdtype(self.images.dtype, np.floating):
            return np.asarray(self.images, dtype=np.float32)
        return np.asarray(self.images, dtype=np.float32) / np.float32(255)


def array_hash(*arrays: Array) -> str:
    """Return the sha256 over shapes, types and bytes of arrays, 64 hex digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
