"""CIFAR-10 as JPEG files of quality 75, which small models of CIFAR-10 are trained and evaluated on.

The images come from a copy (an npz of JPEG files for each split), or are remade from torchvision's original images by
the encoder that wrote the copy. Hashes of the decoded test and dev images, which the package contains, decide whether
images are those of the copy, and restore their order.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from purebench.core.errors import PurebenchError
from purebench.data.datasets import cifar10, data_home
from purebench.data.image_set import Array, ImageSet
from purebench.data.splits import DEV, TEST, TRAIN

NAME = "cifar10-jpeg"
QUALITY, SUBSAMPLING, ENCODER = 75, "4:2:0", "8d"
"""Settings of the JPEG files, and a version of IJG's libjpeg that writes them. Versions 7, 8 and 9 reduce the chroma in
the DCT domain; version 6 and libjpeg-turbo, which Pillow and torchvision use, average pixels instead."""
DEV_IMAGES = 5_000
"""Number of dev images, the last ones of the copy's training set, which the recipes hold out."""
HASHES = Path(__file__).with_name("cifar10_hashes.npz")
CURE = (
    "give a folder with cifar10_jpeg_train.npz and cifar10_jpeg_test.npz (the JPEG copy) or with cifar-10-batches-py "
    "(torchvision's files)."
)


def cifar10_jpeg(*, split: str = TEST, folder: str | None = None, download: bool = True) -> ImageSet:
    """Return CIFAR-10 after JPEG compression of quality 75, 3×32×32.

    If the folder contains a copy (cifar10_jpeg_train.npz and cifar10_jpeg_test.npz, see `cifar10`), the images are
    those of the copy. Otherwise torchvision's original images are encoded (by jpeglib, in about two minutes for all)
    and decoded again. In both cases the test and dev images are compared with the hashes of the copy, and a copy's
    labels too.

    Args:
        split: `test` (10,000), `train` (50,000), or `dev`: the last 5,000 training images of the copy, which are the
            last ones of `train` too. The others are in another order if they are remade.
        folder: folder of the copy or of torchvision's files; None for the data folder, with a download if needed.
        download: whether the original images may be downloaded.

    Raises:
        PurebenchError: If the split is unknown, no images are found, jpeglib is needed and not installed, or test or
            dev images are not those of the copy.
    """
    if split not in (TEST, TRAIN, DEV):
        raise PurebenchError(f"{NAME}: expected the split test, train or dev, but got {split!r}.")
    home = Path(folder) if folder else data_home()
    copy = home / f"cifar10_jpeg_{TEST if split == TEST else TRAIN}.npz"
    if copy.is_file():
        return _from_copy(copy, split)
    try:
        original = cifar10(split=TEST if split == TEST else TRAIN, folder=folder, download=download)
    except PurebenchError as error:
        raise PurebenchError(f"{NAME}: expected images in {home}, but found none ({error}); {CURE}") from error
    made = replace(original, name=NAME, images=recompressed(original.images), ids=())
    places = _places_in_copy(made, TEST if split == TEST else DEV)
    if split == TRAIN:
        places = [*np.setdiff1d(np.arange(len(made)), places).tolist(), *places]
    ids = _ids(TEST if split == TEST else TRAIN, len(made))[-len(places) :]
    return replace(made.take(places), split=split, ids=ids)


def recompressed(images: Array) -> Array:
    """Encode images as JPEG files like those of the copy, and decode them with Pillow.

    Args:
        images: uint8 [N,3,H,W].

    Returns:
        The decoded images, uint8 [N,3,H,W].

    Raises:
        PurebenchError: If jpeglib is not installed.
    """
    try:
        import jpeglib
    except ImportError as error:
        raise PurebenchError(
            f"{NAME}: expected jpeglib, which encodes the original images, but it is not installed: pip install "
            f"'purebench[jpeg]'; or {CURE}"
        ) from error
    made = []
    with tempfile.TemporaryDirectory() as folder, jpeglib.version(ENCODER):
        path = str(Path(folder, "image.jpg"))
        for image in images:
            encoded = jpeglib.from_spatial(np.ascontiguousarray(image.transpose(1, 2, 0)))
            encoded.samp_factor = SUBSAMPLING
            encoded.write_spatial(path, qt=QUALITY)
            with Image.open(path) as picture:
                made.append(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    return np.stack(made)


def pixel_hashes(images: Array) -> Array:
    """Return the first 64 bits of the sha256 of each image's pixels, uint64 [N], from images uint8 [N,3,H,W]."""
    digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8] for image in images]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def stored_hashes(split: str) -> Array:
    """Return hashes of the copy: of its images `test` or `dev`, uint64 [N], or of their labels `test labels`, [1]."""
    with np.load(HASHES) as stored:
        return np.asarray(stored[split])


def label_hash(labels: Array) -> Array:
    """Return the first 64 bits of the sha256 of labels in their order, uint64 [1], from labels [N] below 256."""
    return pixel_hashes(labels.astype(np.uint8)[None])


def _from_copy(path: Path, split: str) -> ImageSet:
    """Return the images of a copy.

    Raises:
        PurebenchError: Its test or dev images or their labels are not those that the package has hashes of.
    """
    whole = replace(cifar10(npz=str(path)), name=NAME, split=split)
    whole = replace(whole, ids=_ids(TEST if split == TEST else TRAIN, len(whole)))
    checked = whole if split == TEST else whole.take(range(len(whole))[-DEV_IMAGES:])
    wanted = stored_hashes(TEST if split == TEST else DEV)
    if not np.array_equal(pixel_hashes(checked.images), wanted):
        raise PurebenchError(
            f"{path}: expected the {len(wanted):,} {TEST if split == TEST else DEV} images of the JPEG copy in its "
            f"order, but got {len(checked):,} other images; {CURE}"
        )
    part = TEST if split == TEST else DEV
    if not np.array_equal(label_hash(checked.labels), stored_hashes(f"{part} labels")):
        raise PurebenchError(
            f"{path}: expected the labels of the {part} images of the JPEG copy, but got others; {CURE}"
        )
    return checked if split == DEV else whole


def _ids(part: str, count: int) -> tuple[str, ...]:
    return tuple(f"{part}-{place}" for place in range(count))


def _places_in_copy(made: ImageSet, split: str) -> list[int]:
    """Return the places of the copy's images among remade ones, in the copy's order. Raises if one is missing."""
    places = {value: place for place, value in enumerate(pixel_hashes(made.images).tolist())}
    wanted = stored_hashes(split).tolist()
    if missing := sum(value not in places for value in wanted):
        raise PurebenchError(
            f"{NAME}: expected the {len(wanted):,} {split} images of the JPEG copy, but {missing:,} of them cannot be "
            f"remade from the images in {made.source}: they are not CIFAR-10's, or Pillow's JPEG library decodes "
            f"differently; give a folder with the copy, or evaluate on the original images: cifar10(split={split})."
        )
    return [places[value] for value in wanted]
