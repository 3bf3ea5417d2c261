"""Defines the data set `dev-images`: dev images of a data set without declared splits, without those of a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.data.adapt import load_images
from purebench.data.image_set import ImageSet
from purebench.data.ordering import balanced_order
from purebench.data.splits import DEV, divided, without

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
    data = load_images(Spec.parse(of))
    whole = replace(data, split="")
    try:
        left = divided(whole, DEV)
    except PurebenchError:
        left = whole.take([])
    left = without(left, whole.take(balanced_order(whole.labels, seed)[:images]))
    if len(left) < LEAST:
        raise PurebenchError(
            f"{data.name}: expected at least {LEAST} dev images, which are about a fifth of the data set without the "
            f"images of the board, but got {len(left)} of {len(data)} images; use more images, divide the data set "
            "(docs/my-data.md), or search on another one (tune --dataset)."
        )
    return replace(left, split=DEV)


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
    if use.name == NAME or load_images(use).split == DEV:
        return use
    if load_images(use).split:
        return Spec(use.name, {**use.params, "split": DEV})
    return Spec(NAME, {"of": use.plain(), "images": images, "seed": seed})
