"""Loads the images of a data set: creates it by name, adapts it where that is unambiguous, and validates it."""

from __future__ import annotations

from typing import Any

import numpy as np

from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.data.image_set import ImageSet
from purebench.data.validation import valid_classes, valid_ids, valid_images, valid_labels, valid_split


def load_images(spec: Spec) -> ImageSet:
    """Create a registered data set, and validate it.

    Args:
        spec: A name of the group `datasets`, or `path/to/file.py:name`, with parameters.

    Raises:
        PurebenchError: If it cannot be created, or is not as `as_image_set` expects.
        MissingFiles: If it needs files that are not on this machine.
    """
    return as_image_set(registry.create("datasets", spec), spec.name)


def as_image_set(made: Any, name: str = "images") -> ImageSet:
    """Adapt and validate labelled images.

    Args:
        made: An `ImageSet`, a pair (images, labels), or a `torch.utils.data.TensorDataset` of two tensors. Images are
            arrays or tensors [N,C,H,W], uint8 or floating point in [0,1], and labels are integers [N] from 0 on. The
            classes of a pair are named by their numbers.
        name: Name of a pair, also used in messages.

    Returns:
        Images of uint8 or float32 in [0,1], and labels of int64. Floats that are all exactly k/255 become uint8.

    Raises:
        PurebenchError: If the images or labels are not as described; the message says what was expected, what came, and
            the cure.
    """
    if isinstance(made, ImageSet):
        name = made.name if isinstance(made.name, str) and made.name else name
        images = valid_images(name, made.images)
        labels = valid_labels(name, made.labels, len(images))
        classes = valid_classes(name, made.classes, labels)
        ids, split = valid_ids(name, made.ids, len(images)), valid_split(name, made.split)
        return ImageSet(name, images, labels, classes, str(made.source), ids, split)
    x, y = _pair(made, name)
    images = valid_images(name, x)
    labels = valid_labels(name, y, len(images))
    most = int(labels.max()) + 1
    if most > 1_000_000:
        raise PurebenchError(
            f"{name}: expected at most 1,000,000 classes, but got the label {most - 1}; check the labels."
        )
    return ImageSet(name, images, labels, tuple(map(str, range(most))), name)


def _pair(made: Any, name: str) -> tuple[Any, Any]:
    """Return images and labels of a pair or a TensorDataset. Raises PurebenchError for anything else."""
    from torch.utils.data import TensorDataset

    parts = made.tensors if isinstance(made, TensorDataset) else made
    if isinstance(parts, tuple | list) and len(parts) == 2:
        return parts[0], parts[1]
    got = type(made).__name__
    if isinstance(made, TensorDataset | tuple | list):
        got += f" of {len(parts)}"
    elif isinstance(made, np.ndarray):
        got += " without labels"
    raise PurebenchError(
        f"{name}: expected an ImageSet, a pair (images, labels) or a TensorDataset of two tensors, but got {got}; "
        "return images [N,C,H,W] and labels [N]."
    )
