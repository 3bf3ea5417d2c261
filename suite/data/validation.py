"""Validates images, labels and class names; each error message says what was expected, what came, and the cure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from purebench.core.errors import PurebenchError, shown
from purebench.data.image_set import Array, ImageSet
from purebench.data.splits import SPLITS

CHANNELS = (1, 3)
"""Allowed numbers of channels: grey and RGB."""
CHUNK = 256
"""Number of images that are processed together, so that a large data set is not copied as a whole."""


def valid_images(name: str, images: Any) -> Array:
    """Check images, and convert them to one of two types without loss.

    Floats that are all exactly k/255 become uint8, so that they give the same result as the bytes that they came from.

    Args:
        name: Name of the data set, for messages.
        images: An array [N,C,H,W], uint8, or floating point in [0,1].

    Returns:
        uint8, or float32 in [0,1]; contiguous.

    Raises:
        PurebenchError: If the shape, the type or the range is not as described.
    """
    array = _array(name, "images", images)
    _check_shape(name, array)
    if array.dtype == np.uint8:
        if not any((part > 1).any() for part in _parts(array)):
            raise PurebenchError(
                f"{name}: expected uint8 images from 0 to 255, but no value is above 1, as if floats in [0,1] had "
                "been cast; pass the floats, or multiply them by 255 before the cast."
            )
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        cure = "images.astype('uint8')" if low >= 0 and 1 < high <= 255 else "scale them to floats in [0,1]"
        raise PurebenchError(
            f"{name}: expected uint8 images from 0 to 255 or float32 images in [0,1], but got {array.dtype} from "
            f"{low} to {high}; convert them: {cure}."
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    _check_range(name, array)
    return _as_bytes(array)


def _check_shape(name: str, array: Array) -> None:
    shape = list(array.shape)
    expected = f"{name}: expected images [N,C,H,W] with 1 or 3 channels, but got {shape}"
    if array.ndim != 4:
        cure = "add the channel axis: images[:, None]" if array.ndim == 3 else "reshape them"
        raise PurebenchError(f"{expected}; {cure}.")
    if 0 in shape:
        raise PurebenchError(f"{expected}, which is empty; pass at least one image.")
    if shape[1] not in CHANNELS:
        last = (
            "move the channels from the last axis: images.transpose(0, 3, 1, 2)"
            if shape[3] in (*CHANNELS, 4)
            else "use 1 or 3 channels"
        )
        raise PurebenchError(f"{expected}; {last}.")


def _check_range(name: str, array: Array) -> None:
    lows, highs = zip(*((float(part.min()), float(part.max())) for part in _parts(array)), strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))  # np.min keeps NaN
    expected = f"{name}: expected float images in [0,1], but got"
    if not np.isfinite([low, high]).all():
        bad = next(i for i, image in enumerate(array) if not np.isfinite(image).all())
        raise PurebenchError(f"{expected} NaN or infinity, first in image {bad}; remove or repair this image.")
    values = f"{expected} values from {low:.9g} to {high:.9g}"
    if low < 0 and low >= -1 and high <= 1:
        raise PurebenchError(f"{values}; map [-1,1] to [0,1]: (images + 1) / 2.")
    if low < 0:
        raise PurebenchError(f"{values}; pass the images before normalisation, which belongs to the classifier.")
    if high > 1:
        cure = "divide them by 255, or pass them as uint8" if 2 <= high <= 255 else "scale or clip them"
        raise PurebenchError(f"{values}; {cure}.")
    if high <= 1.001 / 255:  # 1/255 as rounded by whatever divided
        raise PurebenchError(f"{values}, as if divided by 255 twice; divide them once.")


def _as_bytes(array: Array) -> Array:
    """Return floats [N,C,H,W] in [0,1] as uint8 if all are exactly k/255 in float32, else unchanged and contiguous."""
    if all((_rounded(part).astype(np.float32) / np.float32(255) == part).all() for part in _parts(array)):
        return np.concatenate([_rounded(part) for part in _parts(array)])
    return np.ascontiguousarray(array)


def _rounded(part: Array) -> Array:
    return np.rint(part * np.float32(255)).astype(np.uint8)


def _parts(array: Array) -> Iterator[Array]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def valid_labels(name: str, labels: Any, images: int) -> Array:
    """Check labels.

    Args:
        name: Name of the data set, for messages.
        labels: Integers [N] of any width, from 0 on.
        images: N.

    Returns:
        int64 [N].

    Raises:
        PurebenchError: If they are not integers, have another shape or number, or one is negative.
    """
    array = _array(name, "labels", labels)
    expected = f"{name}: expected integer labels [{images}], one per image, but got"
    if array.ndim == 2 and array.shape[1] == 1:
        raise PurebenchError(f"{expected} a column {list(array.shape)}; use labels[:, 0].")
    if array.ndim == 2 and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all():
        raise PurebenchError(f"{expected} one-hot rows {list(array.shape)}; use labels.argmax(1).")
    if array.ndim != 1:
        raise PurebenchError(f"{expected} the shape {list(array.shape)}; pass the class number of each image.")
    if len(array) != images:
        raise PurebenchError(f"{expected} {len(array)} labels; pass a label for every image.")
    if not np.issubdtype(array.dtype, np.integer):
        raise PurebenchError(f"{expected} {array.dtype}; convert them: labels.astype('int64').")
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        worst = array.min() if array.min() < 0 else array.max()
        raise PurebenchError(
            f"{expected} the label {worst}; number the classes from 0, and leave out images without a label."
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def valid_classes(name: str, classes: Any, labels: Array) -> tuple[str, ...]:
    """Check the names of classes.

    Args:
        name: Name of the data set, for messages.
        classes: A sequence of different strings, none of them empty.
        labels: int64 [N]; each must have a name.

    Raises:
        PurebenchError: If the names are not as described, or there are too few.
    """
    expected = f"{name}: expected classes as a tuple of names in the order of the classifier's outputs, but got"
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise PurebenchError(f"{expected} {shown(classes)}; pass ('cat', 'dog', …).")
    if others := [one for one in classes if not isinstance(one, str) or not one.strip()]:
        raise PurebenchError(f"{expected} {shown(others[0])} among them; pass strings: tuple(map(str, classes)).")
    if len(set(classes)) < len(classes):
        twice = next(one for one in classes if classes.count(one) > 1)
        raise PurebenchError(f"{expected} {shown(twice)} more than once; give every class a different name.")
    if labels.max() >= len(classes):
        cure = "number the labels from 0: labels - 1" if _from_one(labels, len(classes)) else "name all classes"
        raise PurebenchError(
            f"{name}: expected labels below {len(classes)}, the number of its classes, but got {labels.max()}; {cure}."
        )
    return tuple(classes)


def valid_ids(name: str, ids: Any, count: int) -> tuple[str, ...]:
    """Check the ids of images; none are permitted, and then the content of an image is its id.

    Args:
        name: Name of the data set, for messages.
        ids: The ids.
        count: Number of images.

    Returns:
        The ids as a tuple.

    Raises:
        PurebenchError: If they are not one different string per image.
    """
    found = tuple(ids) if isinstance(ids, Sequence) and not isinstance(ids, str) else None
    if found is None or any(not isinstance(one, str) or not one for one in found):
        raise PurebenchError(f"{name}: expected ids as a tuple of strings, but got {shown(ids)}; leave them out.")
    if found and len(found) != count:
        raise PurebenchError(f"{name}: expected {count} ids, one per image, but got {len(found)}; leave them out.")
    if len(set(found)) < len(found):
        twice = next(one for one in found if found.count(one) > 1)
        raise PurebenchError(f"{name}: expected every id once, but got {shown(twice)} more than once; rename one.")
    return found


def valid_split(name: str, split: Any) -> str:
    """Check the part of the data set that images are.

    Args:
        name: Name of the data set, for messages.
        split: The part.

    Returns:
        The part.

    Raises:
        PurebenchError: If it is none of SPLITS.
    """
    if split not in SPLITS:
        raise PurebenchError(
            f"{name}: expected split to be dev, test, train, or empty for images that are not divided, but got "
            f"{shown(split)}; leave it out."
        )
    return str(split)


def check_classes(images: ImageSet, outputs: int) -> str | None:
    """Compare the classes of images with the outputs of a classifier.

    Args:
        images: The data set, already validated.
        outputs: K of the classifier's logits [N,K].

    Returns:
        A warning in a sentence if the data set has another number of classes, else None.

    Raises:
        PurebenchError: If a label has no output, so that its images could never be classified correctly.
    """
    if images.labels.max() >= outputs:
        first = (
            "number them from 0: labels - 1"
            if _from_one(images.labels, outputs)
            else ("use a classifier with all classes")
        )
        raise PurebenchError(
            f"{images.name}: expected labels from 0 to {outputs - 1} for a classifier with {outputs} outputs, but got "
            f"{images.labels.max()}; {first}."
        )
    if len(images.classes) != outputs:
        return (
            f"{images.name}: expected as many classes as the classifier has outputs, but got {len(images.classes)} "
            f"classes and {outputs} outputs; if a class is missing, the labels after it are shifted: list all "
            "names in the order of the outputs (classes=[…])."
        )
    return None


def _from_one(labels: Array, classes: int) -> bool:
    return bool(labels.min() >= 1 and labels.max() == classes)


def _array(name: str, what: str, values: Any) -> Array:
    """Return an array, a tensor or a list as a numpy array. Raises PurebenchError if it does not hold numbers."""
    torch = sys.modules.get("torch")  # without torch there is no tensor, and importing it takes seconds
    try:
        if torch is not None and isinstance(values, torch.Tensor):
            values = values.detach().cpu()
            values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        array = np.asarray(values)
    except Exception as error:
        raise PurebenchError(
            f"{name}: expected {what} as one array, but converting them failed: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    if array.dtype.kind not in "buif":
        raise PurebenchError(
            f"{name}: expected {what} as one array of numbers, but got {type(values).__name__} of {array.dtype}; "
            "stack them: numpy.stack."
        )
    return array
