"""Defines the data set `dev-images`: dev images of a data set without declared splits, without those of a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec
from purebench.data.adapt import load_images
from purebench.data.image_set import ImageSet
from purebench.data.ordering import balanced_order
from purebench.data.splits import DEV, in_dev, without

LEAST = 10
"""Smallest number of dev images."""
NAME = "dev-images"


def dev_images(*, of: str | Mapping[str, Any], images: int = 0, seed: int = 0) -> ImageSet:
    """Return the dev images of a data set that is divided by ids, without the images of a board that uses all of it.

    Args:
        of: The data set, as it is written on a board.
        images: Number of images of the board; 0 for no board.
        seed: Seed of the order of the board's images.

    Raises:
        PurebenchError: If fewer than LEAST images are left.
    """
    data = replace(load_images(Spec.parse(of)), split="")
    left = _dev_part(data, data.take(balanced_order(data.labels, seed)[:images]))
    if len(left) < LEAST:
        raise PurebenchError(
            f"{data.name}: expected at least {LEAST} dev images, which are about a fifth of the data set without the "
            f"images of the board, but got {len(left)} of {len(data)} images; use more images, divide the data set "
            "(docs/my-data.md), or search on another one (tune --dataset)."
        )
    return replace(left, split=DEV)


def _dev_part(data: ImageSet, board: ImageSet) -> ImageSet:
    """Return the images that are dev images by their ids, without those of a board."""
    places = [place for place, one in enumerate(data.identities) if in_dev(one)]
    return without(data.take(places), board)


def refuse_reached(use: Spec, own: int, images: int, seed: int) -> None:
    """Check that a board on more images than its file says uses none of its dev images.

    Only a data set without declared splits can have such images: its dev images are chosen beside those of the board.

    Args:
        use: The board's data set.
        own: Number of images that its file says.
        images: Number of images that are used.
        seed: Seed of the order of the board's images.

    Raises:
        PurebenchError: If it uses dev images.
    """
    try:
        data = load_images(use)
    except MissingFiles:  # the run reports all files that are missing
        return
    order = balanced_order(data.labels, seed)
    reached = 0 if data.split else len(_dev_part(data.take(order[own:images]), data.take(order[:own])))
    if reached:
        raise PurebenchError(
            f"--images: expected at most {own} images, the number in the board's file, or further ones that are no dev "
            f"images, but {reached} of the images from {own + 1} to {min(images, len(data))} are dev images of "
            f"{data.name}, on which tune, break and try search; write the number of images in the board's file before "
            "a search, or divide the data set (docs/my-data.md)."
        )


def dev_spec(use: Spec, images: int, seed: int) -> Spec:
    """Return the data set of the dev images that belong to a board's data set.

    It is the same data set with `split=dev` if that declares its splits, else the data set `dev-images`.

    Args:
        use: The board's data set.
        images: Number of images of the board.
        seed: Seed of the order of the board's images.

    Raises:
        PurebenchError: If the board's images cannot be loaded.
    """
    if use.name == NAME or (split := load_images(use).split) == DEV:
        return use
    if split:
        return Spec(use.name, {**use.params, "split": DEV})
    return Spec(NAME, {"of": use.plain(), "images": images, "seed": seed})
