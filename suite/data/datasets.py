"""Defines the data sets: the bundled subset of Fashion-MNIST, full data sets, and any folder of pictures.

Images are stored as uint8, or float32 in [0,1], and returned as float32 in [0,1]. The hash of the images used is part
of every job's key, so that a result cannot be mistaken for one on other images.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from purebench.core.errors import Missing, MissingFiles, PurebenchError
from purebench.core.files.published import LookedUp, note
from purebench.data.archives import note_cifar10
from purebench.data.class_folders import class_names
from purebench.data.image_set import Array as Array
from purebench.data.image_set import ImageSet as ImageSet
from purebench.data.image_set import array_hash as array_hash
from purebench.data.picture_files import ENDINGS, Geometry, read_pictures
from purebench.data.splits import DEV, TEST, TRAIN, divided

SHIPPED = "shipped"
CIFAR10_DEV = 5_000
"""Number of dev images of CIFAR-10, the last ones of the training set, which recipes hold out."""
FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FASHION_HASH = "5dfb8c4e68f9783fd63093c97c8fc9825cd4073905ec80398a219616bbd2ebac"
FASHION_DEV_HASH = "d0f5420a871ac8d0c9a00b733a3257ec6c88f704a8d842c0f2e3bca4a49fadf2"
FASHION_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class DatasetFactory(Protocol):
    """A `purebench.datasets` entry point, which returns any type that `purebench.data.adapt.as_image_set` accepts."""

    def __call__(self, **options: Any) -> Any:
        """Return an ImageSet, a pair (images, labels), or a TensorDataset."""


def read_idx(path: Path) -> Array:
    """Read an idx file (LeCun's format, gzipped or not) of unsigned bytes as a uint8 array.

    Raises:
        PurebenchError: If the file is not an idx file or is truncated.
    """
    raw = path.read_bytes()
    try:
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError) as error:
        raise PurebenchError(
            f"{path}: expected a gzipped idx file, but it is damaged ({error}); download it again."
        ) from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise PurebenchError(
            f"{path}: expected an idx file of bytes, which starts with 00 00 08, but got {data[:4].hex(' ')}; "
            "download it again."
        )
    shape = np.frombuffer(data, dtype=">i4", count=data[3], offset=4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3])
    if values.size != int(np.prod(shape)):
        raise PurebenchError(
            f"{path}: expected {int(np.prod(shape))} bytes of data, but got {values.size}; download it again."
        )
    return values.reshape(tuple(shape)).copy()


def pad_to_32(images: Array) -> Array:
    """Pad images from uint8 [N,28,28] to [N,1,32,32], with two black pixels on each side."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]


def data_home() -> Path:
    """Return the folder of downloads: $PUREBENCH_DATA, or else a folder in the user's cache."""
    import platformdirs

    return Path(os.environ.get("PUREBENCH_DATA") or platformdirs.user_cache_path("purebench") / "data")


def fashion_mnist(*, split: str = "shipped", folder: str | None = None, download: bool = True) -> ImageSet:
    """Return Fashion-MNIST, grey, padded to 32×32 (Xiao et al. 2017, MIT licence).

    No image is both in `dev` and in `shipped` or `test`.

    Args:
        split: `shipped` (1,000 class-balanced test images, in the package), `dev` (500 other class-balanced images of
            the official test set, in the package), `test` (the official test set without `dev`, 9,500) or `train`
            (60,000).
        folder: Folder of the four idx files; None to try the data folder, Debian's dataset-fashion-mnist, and
            torchvision's download in turn.
        download: Whether the files may be downloaded.

    Raises:
        PurebenchError: If the split is unknown, or the files are missing or damaged.
    """
    if split in (SHIPPED, DEV):
        name, expected = ("fashion_mnist_1000.npz", FASHION_HASH)
        if split == DEV:
            name, expected = ("fashion_mnist_dev_500.npz", FASHION_DEV_HASH)
        images, labels, index = _bundled(name, expected)
        part, source = (DEV if split == DEV else TEST), split
    elif split in FASHION_FILES:
        home = _fashion_folder(folder, download)
        images, labels = (read_idx(_with_or_without_gz(home / name)) for name in FASHION_FILES[split])
        index, part, source = np.arange(len(labels)), split, str(home)
        if split == TEST:
            index = np.setdiff1d(index, _bundled("fashion_mnist_dev_500.npz", FASHION_DEV_HASH)[2])
            images, labels = images[index], labels[index]
    else:
        raise PurebenchError(f"fashion-mnist: expected split shipped, dev, test or train, but got {split!r}.")
    official = TRAIN if split == TRAIN else TEST
    ids = tuple(f"{official}-{place}" for place in index.tolist())
    padded, targets = pad_to_32(images), labels.astype(np.int64)
    return ImageSet("fashion-mnist", padded, targets, FASHION_CLASSES, source, ids, part)


def _bundled(name: str, expected: str) -> tuple[Array, Array, Array]:
    """Return images, labels and positions in the official test set of a bundled file. Raises if it has changed."""
    with np.load(Path(__file__).with_name(name)) as stored:
        images, labels, index = stored["images"], stored["labels"], stored["index"]
    if array_hash(images, labels) != expected:
        raise PurebenchError(
            f"fashion-mnist: expected the bundled {name}, but its contents have changed; reinstall purebench."
        )
    return images, labels, index


def _with_or_without_gz(path: Path) -> Path:
    return path if path.exists() else path.with_name(path.name + ".gz")


def _fashion_folder(folder: str | None, download: bool) -> Path:
    raw = data_home() / "FashionMNIST" / "raw"
    places = [Path(folder)] if folder else [raw, Path("/usr/share/datasets/fashion-mnist")]
    if folder:
        places.append(Path(folder) / "FashionMNIST" / "raw")
    needed = [name for pair in FASHION_FILES.values() for name in pair]
    for place in places:
        if all(_with_or_without_gz(place / name).exists() for name in needed):
            return place
    cure = "install Debian's package dataset-fashion-mnist, or give a folder with the four idx files (folder=…)."
    looked = ", ".join(str(place) for place in places)
    if folder or not download:
        raise PurebenchError(
            f"fashion-mnist: expected {needed[0]}[.gz] and the three other idx files in {looked}, but they are "
            f"missing; {cure}"
        )
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(data_home()), download=True)
    except Exception as error:
        raise PurebenchError(
            f"fashion-mnist: expected the idx files in {looked}, but they are missing, and the download failed "
            f"({error}); {cure}"
        ) from error
    return raw


def cifar10(
    *, split: str = "test", folder: str | None = None, npz: str | None = None, download: bool = True
) -> ImageSet:
    """Return CIFAR-10, 3×32×32, from torchvision's folder or download, or from an npz of JPEG files.

    Args:
        split: `test`, `train`, or `dev`: the last 5,000 training images, which published classifiers were trained on.
        folder: torchvision's folder; None for the data folder, with a download if needed.
        npz: A file with the keys jpeg (uint8 bytes), offsets [N+1], labels [N] and classes; image i is
            jpeg[offsets[i]:offsets[i+1]]. The file alone decides the images, and its images are not divided (see
            `splits`).
        download: Whether the images may be downloaded.

    Raises:
        PurebenchError: If the split is unknown, or the images are not found or the npz is not as described.
    """
    if npz is not None:
        return _jpeg_npz(Path(npz))
    if split not in (TEST, TRAIN, DEV):
        raise PurebenchError(f"cifar10: expected the split test, train or dev, but got {split!r}.")
    from torchvision.datasets import CIFAR10

    home = Path(folder) if folder else data_home()
    if download and folder is None:
        note_cifar10(home)
    try:
        data = CIFAR10(str(home), train=split != TEST, download=download and folder is None)
    except Exception as error:
        cure = "give torchvision's folder (folder=…, which contains cifar-10-batches-py) or an npz file (npz=…)."
        raise PurebenchError(
            f"cifar10: expected the data in {home}, but they cannot be loaded ({str(error).splitlines()[0]}); {cure}"
        ) from error
    images, labels = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.asarray(data.targets, dtype=np.int64)
    ids = tuple(f"{TEST if split == TEST else TRAIN}-{place}" for place in range(len(labels)))
    whole = ImageSet("cifar10", images, labels, tuple(data.classes), str(home), ids, split)
    return whole.take(range(len(labels))[-CIFAR10_DEV:]) if split == DEV else whole


def _jpeg_npz(path: Path) -> ImageSet:
    from PIL import Image

    try:
        with np.load(path) as stored:
            jpeg, offsets, labels, classes = (stored[key] for key in ("jpeg", "offsets", "labels", "classes"))
    except (OSError, ValueError, KeyError) as error:
        raise PurebenchError(
            f"{path}: expected an npz file with the keys jpeg, offsets, labels and classes, but: {error}"
        ) from error
    pictures = [
        np.asarray(Image.open(io.BytesIO(jpeg[start:end].tobytes())).convert("RGB")) for start, end in pairwise(offsets)
    ]
    images = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    return ImageSet("cifar10", images, labels.astype(np.int64), tuple(str(name) for name in classes), str(path))


def image_folder(
    *,
    folder: str,
    size: int | Sequence[int] | None = None,
    resize: int | None = None,
    center_crop: int | Sequence[int] | None = None,
    squash: bool = False,
    classes: Sequence[str | int] | int | None = None,
    order: str | None = None,
    grey: bool = False,
    published: str = "",
    split: str = "",
) -> ImageSet:
    """Return any folder of pictures, one sub-folder per class, unchanged or resized and cropped.

    Resizing is bilinear with antialiasing. ImageNet's usual protocol is `resize=256, center_crop=224`. Pictures of 16
    bits per value, and floats in [0,1], keep their precision: the images are then float32 (Pillow itself reads 16-bit
    colour as 8 bits).

    Args:
        folder: A path, absolute or within the data folder ($PUREBENCH_DATA).
        size: Pixels that pictures are resized to, a number for squares or [height, width]. Pictures of another aspect
            ratio are an error.
        resize: Pixels that the shorter side is resized to, the longer one in proportion.
        center_crop: Pixels of the central part that is kept, a number for squares or [height, width].
        squash: Resize pictures of other aspect ratios to `size` as well, which distorts them.
        classes: All sub-folders' names in the order of the classifier's outputs, or their number, empty ones included.
            Without names they are sorted: as numbers if all are numbers, else as strings.
        order: `number` or `string` (torchvision's ImageFolder), to sort names for which the two differ.
        grey: One channel instead of three.
        published: Where the pictures are published; shown if they are missing.
        split: `dev` for about a fifth of the pictures, chosen by the hash of their pixels, `test` for the others; empty
            for all (see `splits`).

    Raises:
        PurebenchError: If the parameters, the folders or a picture are not as expected.
        MissingFiles: If the folder is not on this machine, and `published` is given.
    """
    geometry = Geometry.checked(size, squash, resize, center_crop)
    root = Path(folder).expanduser()
    if not root.is_dir():
        root = data_home() / folder
    if published:
        note(LookedUp(Missing(str(root), published), root if root.is_dir() else None))
    if not root.is_dir():
        if published:
            raise MissingFiles(Missing(str(root), published))
        raise PurebenchError(
            f"image-folder: expected a folder with a sub-folder per class, but {folder} is not a folder."
        )
    names = class_names(root, classes, order)
    files = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((root / name).glob("**/*"))
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    ]
    if not files:
        raise PurebenchError(
            f"image-folder: expected pictures ({', '.join(sorted(ENDINGS))}) below {root}, but found none."
        )
    images = read_pictures([path for path, _ in files], geometry, grey=grey)
    labels = np.asarray([label for _, label in files], dtype=np.int64)
    return divided(ImageSet(root.name, images, labels, names, str(root)), split)
