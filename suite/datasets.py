"""Labelled images: the shipped subset, the full sets, and any folder of pictures.

Images are kept as uint8 [N,C,H,W] and handed out as float32 in [0,1]; the hash of what was used goes into every
job's key, so a result can never be mistaken for one on other images.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from purebench.errors import Missing, MissingFiles, PurebenchError

Array = npt.NDArray[Any]

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
FASHION_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: `images` uint8 [N,C,H,W], `labels` int64 [N], the class names, and where they came from."""

    name: str
    images: Array
    labels: Array
    classes: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def hash(self) -> str:
        """sha256 of pixels and labels, 64 hex digits."""
        return array_hash(self.images, self.labels)

    def take(self, index: Sequence[int] | Array) -> ImageSet:
        """The images at `index`, in that order."""
        return ImageSet(self.name, self.images[index], self.labels[index], self.classes, self.source)

    def floats(self) -> Array:
        """Images float32 [N,C,H,W] in [0,1]."""
        return np.asarray(self.images, dtype=np.float32) / np.float32(255)


class DatasetFactory(Protocol):
    """What a `purebench.datasets` entry point names: keyword arguments to an ImageSet."""

    def __call__(self, **options: Any) -> ImageSet:
        """The images."""


def array_hash(*arrays: Array) -> str:
    """sha256 over shapes, types and bytes of arrays, 64 hex digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def read_idx(path: Path) -> Array:
    """An idx file (LeCun's format, gzipped or not) of unsigned bytes as a uint8 array.

    Raises PurebenchError if the file is not one or is cut short.
    """
    raw = path.read_bytes()
    try:
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError) as error:
        raise PurebenchError(
            f"{path}: expected a gzipped idx file, but it is damaged ({error}); fetch it again."
        ) from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise PurebenchError(
            f"{path}: expected an idx file of bytes (it starts 00 00 08), but got {data[:4].hex(' ')}."
        )
    shape = np.frombuffer(data, dtype=">i4", count=data[3], offset=4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3])
    if values.size != int(np.prod(shape)):
        raise PurebenchError(
            f"{path}: expected {int(np.prod(shape))} bytes of data, but got {values.size}; fetch it again."
        )
    return values.reshape(tuple(shape)).copy()


def pad_to_32(images: Array) -> Array:
    """uint8 [N,28,28] → [N,1,32,32], two black pixels on each side."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]


def data_home() -> Path:
    """Where downloads go: $PUREBENCH_DATA, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("PUREBENCH_DATA") or platformdirs.user_cache_path("purebench") / "data")


def fashion_mnist(*, split: str = "shipped", folder: str | None = None, download: bool = True) -> ImageSet:
    """Fashion-MNIST, grey, padded to 32×32 (Xiao et al. 2017, MIT licence).

    split: `shipped` (1,000 class-balanced test images, in the package), `test` (10,000) or `train` (60,000).
    folder: where the four idx files are; else the data folder, Debian's dataset-fashion-mnist, and torchvision's
    download are tried in turn.
    """
    if split == "shipped":
        with np.load(Path(__file__).with_name("data") / "fashion_mnist_1000.npz") as stored:
            images, labels = stored["images"], stored["labels"]
        if array_hash(images, labels) != FASHION_HASH:
            raise PurebenchError("fashion_mnist_1000.npz is not the file that was shipped; reinstall purebench.")
        return ImageSet("fashion-mnist", pad_to_32(images), labels.astype(np.int64), FASHION_CLASSES, "shipped")
    if split not in FASHION_FILES:
        raise PurebenchError(f"fashion-mnist: expected split shipped, test or train, but got {split!r}.")
    home = _fashion_folder(folder, download)
    images, labels = (read_idx(_with_or_without_gz(home / name)) for name in FASHION_FILES[split])
    return ImageSet("fashion-mnist", pad_to_32(images), labels.astype(np.int64), FASHION_CLASSES, str(home))


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
    cure = "install Debian's dataset-fashion-mnist, or name a folder with the four idx files (folder=…)."
    looked = ", ".join(str(place) for place in places)
    if folder or not download:
        raise PurebenchError(
            f"fashion-mnist: expected {needed[0]}[.gz] and its three companions in {looked}: not there; {cure}"
        )
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(data_home()), download=True)
    except Exception as error:
        raise PurebenchError(f"fashion-mnist: not in {looked}, and its download failed ({error}); {cure}") from error
    return raw


def cifar10(
    *, split: str = "test", folder: str | None = None, npz: str | None = None, download: bool = True
) -> ImageSet:
    """CIFAR-10, 3×32×32, from torchvision's folder or download, or from an npz of JPEG files.

    npz: a file with the keys jpeg (uint8 bytes), offsets [N+1], labels [N] and classes; image i is
    jpeg[offsets[i]:offsets[i+1]]. It decides the split by itself.
    """
    if npz is not None:
        return _jpeg_npz(Path(npz))
    if split not in ("test", "train"):
        raise PurebenchError(f"cifar10: expected split test or train, but got {split!r}.")
    from torchvision.datasets import CIFAR10

    home = Path(folder) if folder else data_home()
    try:
        data = CIFAR10(str(home), train=split == "train", download=download and folder is None)
    except Exception as error:
        cure = "name torchvision's folder (folder=…, holding cifar-10-batches-py) or an npz (npz=…)."
        raise PurebenchError(f"cifar10: not found in {home} ({str(error).splitlines()[0]}); {cure}") from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    return ImageSet("cifar10", images, np.asarray(data.targets, dtype=np.int64), tuple(data.classes), str(home))


def _jpeg_npz(path: Path) -> ImageSet:
    from PIL import Image

    try:
        with np.load(path) as stored:
            jpeg, offsets, labels, classes = (stored[key] for key in ("jpeg", "offsets", "labels", "classes"))
    except (OSError, ValueError, KeyError) as error:
        raise PurebenchError(
            f"{path}: expected an npz with keys jpeg, offsets, labels, classes, but: {error}"
        ) from error
    pictures = [
        np.asarray(Image.open(io.BytesIO(jpeg[start:end].tobytes())).convert("RGB")) for start, end in pairwise(offsets)
    ]
    images = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    return ImageSet("cifar10", images, labels.astype(np.int64), tuple(str(name) for name in classes), str(path))


def image_folder(
    *, folder: str, size: int, classes: Sequence[str] | int | None = None, grey: bool = False, published: str = ""
) -> ImageSet:
    """Any folder of pictures, a sub-folder per class, resized to size×size (bilinear with antialias).

    folder: a path, or one within the data folder ($PUREBENCH_DATA). classes: all class names in the order of the
    classifier's outputs, or how many sub-folders there must be, empty ones included. Without it, and by a number, the
    sub-folders' sorted names are taken; without it a missing class shifts the labels. published: where the pictures
    are to be had: if they are not here, MissingFiles says so.
    """
    from PIL import Image

    root = Path(folder).expanduser()
    if not root.is_dir():
        root = data_home() / folder
    if not root.is_dir():
        if published:
            raise MissingFiles(Missing(str(root), published))
        raise PurebenchError(f"image-folder: expected a folder with a sub-folder per class, but {folder} is none.")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if isinstance(classes, int) and len(found) != classes:
        raise PurebenchError(
            f"image-folder: expected {classes} sub-folders in {root}, one a class, but got {len(found)}, and a missing "
            "or foreign one would shift the labels; make an empty one for a missing class, move away what is none, or "
            "name them all (classes=[…])."
        )
    names = tuple(found) if classes is None or isinstance(classes, int) else tuple(classes)
    strangers = set(found) - set(names)
    if strangers or not names:
        raise PurebenchError(
            f"image-folder: {root} holds {found}, but the classes are {list(names)}; name them all (classes=[…])."
        )
    endings = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
    images, labels = [], []
    for label, name in enumerate(names):
        for path in sorted((root / name).glob("**/*")):
            if path.suffix.lower() in endings and not path.name.startswith("."):
                try:
                    picture = Image.open(path).convert("L" if grey else "RGB")
                except (OSError, SyntaxError, ValueError) as error:
                    raise PurebenchError(
                        f"{path}: expected a picture, but it is cut short or damaged ({error}); fetch it again."
                    ) from error
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
                images.append(np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1))
                labels.append(label)
    if not images:
        raise PurebenchError(f"image-folder: no picture ({', '.join(sorted(endings))}) below {root}.")
    return ImageSet(root.name, np.stack(images), np.asarray(labels, dtype=np.int64), names, str(root))
