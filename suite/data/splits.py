"""Divides data sets into dev images, on which attacks and settings are searched for, and test images, for boards.

Dev images are those of the split `dev` of a data set that declares its splits (Fashion-MNIST and CIFAR-10 do); a search
refuses them if one of them is also an image of the board's data set (`dev_board`). Any other data set is divided by the
id of each image, which is the hash of its pixels unless the data set declares ids: the image is a dev image if the
first 32 bits of the sha256 of its id are below a fifth of their range. The division does not depend on the order of the
images, on their number or on file names, and copies of an image are in the same part. A board on a data set without
splits may use images of both parts; those that it uses are none of its dev images, and it cannot be lengthened to
images that are (`dev_images`).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from purebench.core.errors import PurebenchError
from purebench.data.image_set import ImageSet

DEV, TEST, TRAIN = "dev", "test", "train"
SPLITS = ("", DEV, TEST, TRAIN)
DEV_SHARE = 0.2
"""Share of the dev images in a data set that is divided by ids."""


def in_dev(identity: str) -> bool:
    """Return whether the image with this id is a dev image of a data set that is divided by ids."""
    return int(hashlib.sha256(identity.encode()).hexdigest()[:8], 16) < DEV_SHARE * 2**32


def divided(data: ImageSet, split: str) -> ImageSet:
    """Return the dev or the test images of a data set that is divided by ids.

    Args:
        data: All images.
        split: `dev` or `test`; empty for all images, unchanged.

    Raises:
        PurebenchError: If the split is another one, or the part has no image.
    """
    if not split:
        return data
    if split not in (DEV, TEST):
        raise PurebenchError(f"{data.name}: expected the split dev or test, but got {split!r}; leave it out for all.")
    places = [place for place, one in enumerate(data.identities) if in_dev(one) == (split == DEV)]
    if not places:
        raise PurebenchError(
            f"{data.name}: expected images in the split {split}, about "
            f"{DEV_SHARE if split == DEV else 1 - DEV_SHARE:.0%} of {len(data)}, but got none; use more images."
        )
    return replace(data.take(places), split=split)


def without(data: ImageSet, others: ImageSet) -> ImageSet:
    """Return the images of `data` whose id and whose pixels are not among `others`."""
    ids, pixels = set(others.identities), set(replace(others, ids=()).identities)
    own = zip(data.identities, replace(data, ids=()).identities, strict=True)
    keep = [place for place, (one, content) in enumerate(own) if one not in ids and content not in pixels]
    return data.take(np.asarray(keep, dtype=np.int64))


def refuse_dev(data: ImageSet) -> None:
    """Check that images may be those of a board.

    Raises:
        PurebenchError: If they are dev images.
    """
    if data.split == DEV:
        raise PurebenchError(
            f"dataset: expected test images, but got the dev images of {data.name}, on which tune, break and try "
            "search, so that results on them would be too good for what was searched; use the test images: leave "
            "split=dev out."
        )


def refuse_test(data: ImageSet, command: str) -> None:
    """Check that images may be those of a search.

    Args:
        data: The images.
        command: The command that searches, for the message.

    Raises:
        PurebenchError: If they are test images.
    """
    if data.split == TEST:
        raise PurebenchError(
            f"{command}: expected dev images, but got test images of {data.name}, which boards evaluate on, so that a "
            "board would no longer be independent of the search; use the dev images: split=dev, or leave --dataset out."
        )
