"""Tests the JPEG copy of CIFAR-10: its images are recognised, remade from the originals, and put in its order."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purebench.core.errors import PurebenchError
from purebench.data.image_set import ImageSet
from purebench.data.jpeg_copy import cifar10 as jpeg_copy
from purebench.data.jpeg_copy.cifar10 import cifar10_jpeg, label_hash, pixel_hashes, recompressed, stored_hashes

N, DEV_IMAGES = 12, 4
CLASSES = tuple(f"class {number}" for number in range(10))


def originals(split: str) -> ImageSet:
    images = np.random.default_rng(len(split)).integers(0, 256, (N, 3, 32, 32), dtype=np.uint8)
    return ImageSet("cifar10", images, np.arange(N) % 10, CLASSES, "random numbers", split=split)


def inverted(images: np.ndarray) -> np.ndarray:
    """Stand in for the encoder."""
    return 255 - images


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The order of a copy of 12 test and 12 training images, of which the package knows the hashes."""
    order = {split: np.random.default_rng(7 + len(split)).permutation(N) for split in ("test", "train")}
    hashes = {split: pixel_hashes(inverted(originals(split).images[places])) for split, places in order.items()}
    labels = {split: originals(split).labels[places] for split, places in order.items()}
    of_labels = {"test labels": label_hash(labels["test"]), "dev labels": label_hash(labels["train"][-DEV_IMAGES:])}
    np.savez(tmp_path / "hashes.npz", test=hashes["test"], dev=hashes["train"][-DEV_IMAGES:], **of_labels)
    monkeypatch.setattr(jpeg_copy, "HASHES", tmp_path / "hashes.npz")
    monkeypatch.setattr(jpeg_copy, "DEV_IMAGES", DEV_IMAGES)
    monkeypatch.setattr(jpeg_copy, "recompressed", inverted)
    monkeypatch.setattr(jpeg_copy, "cifar10", lambda **options: originals(options["split"]))
    return order


def test_the_encoder_remakes_the_copys_images_from_original_ones() -> None:
    """Foolbox's wheel has the first 20 original test images of CIFAR-10 as PNG files."""
    pytest.importorskip("jpeglib")
    foolbox = pytest.importorskip("foolbox")
    files = sorted((Path(foolbox.__file__).parent / "data").glob("cifar10_*.png"))
    assert len(files) == 20
    images = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) for file in files])
    assert np.isin(pixel_hashes(recompressed(images)), stored_hashes("test")).all()


def test_without_jpeglib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jpeglib", None)
    with pytest.raises(PurebenchError, match=re.escape("pip install 'purebench[jpeg]'")):
        recompressed(originals("test").images)


def test_pillows_encoder_does_not_remake_the_copy() -> None:
    foolbox = pytest.importorskip("foolbox")
    buffer = io.BytesIO()
    Image.open(Path(foolbox.__file__).parent / "data" / "cifar10_00_3.png").save(buffer, "JPEG", quality=75)
    decoded = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    assert not np.isin(pixel_hashes(decoded[None]), stored_hashes("test")).any()


def test_the_package_has_a_different_hash_for_each_test_and_dev_image() -> None:
    test, dev = stored_hashes("test"), stored_hashes("dev")
    assert (len(test), len(dev)) == (10_000, 5_000)
    assert len(np.unique(np.concatenate([test, dev]))) == 15_000


def test_remade_test_images_are_in_the_copys_order(small: dict[str, np.ndarray]) -> None:
    data = cifar10_jpeg(split="test", folder="x")
    original = originals("test")
    assert (data.images == inverted(original.images[small["test"]])).all()
    assert (data.labels == original.labels[small["test"]]).all()
    assert (data.name, data.split) == ("cifar10-jpeg", "test")


def test_dev_images_are_the_last_training_images_and_have_their_ids(small: dict[str, np.ndarray]) -> None:
    train, dev = (cifar10_jpeg(split=split, folder="x") for split in ("train", "dev"))
    places = small["train"][-DEV_IMAGES:]
    assert (dev.images == inverted(originals("train").images[places])).all()
    assert (dev.labels == originals("train").labels[places]).all()
    assert (train.images[-DEV_IMAGES:] == dev.images).all()
    assert (train.labels[-DEV_IMAGES:] == dev.labels).all()
    assert train.ids[-DEV_IMAGES:] == dev.ids
    assert len({image.tobytes() for image in train.images}) == N, "each image once"


def test_other_images_are_refused_with_their_number(
    small: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(images: np.ndarray) -> np.ndarray:
        made = inverted(images)
        made[:3, 0, 0, 0] ^= 1
        return made

    monkeypatch.setattr(jpeg_copy, "recompressed", changed)
    with pytest.raises(PurebenchError, match=r"expected the 12 test images.*but 3 of them cannot be remade"):
        cifar10_jpeg(split="test", folder="x")


def write_copy(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a copy whose files are lossless; `cifar10` reads any format that Pillow knows."""
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    bytes_ = np.frombuffer(b"".join(files), dtype=np.uint8)
    path = folder / f"cifar10_jpeg_{split}.npz"
    np.savez(path, jpeg=bytes_, offsets=offsets, labels=labels, classes=np.asarray(CLASSES))


def test_a_copy_is_read_and_checked(
    small: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the reader of the copy; the hashes are set again
    monkeypatch.setattr(jpeg_copy, "HASHES", tmp_path / "hashes.npz")
    monkeypatch.setattr(jpeg_copy, "DEV_IMAGES", DEV_IMAGES)
    for split, places in small.items():
        data = originals(split)
        write_copy(tmp_path, split, inverted(data.images[places]), data.labels[places])
    test, train, dev = (cifar10_jpeg(split=split, folder=str(tmp_path)) for split in ("test", "train", "dev"))
    assert (test.images == inverted(originals("test").images[small["test"]])).all()
    assert (dev.images == train.images[-DEV_IMAGES:]).all()
    assert dev.ids == train.ids[-DEV_IMAGES:]
    assert [data.split for data in (test, train, dev)] == ["test", "train", "dev"]
    for split, whole in (("test", test), ("train", train)):
        write_copy(tmp_path, split, whole.images, np.roll(whole.labels, 1))
        with pytest.raises(PurebenchError, match=r"expected the labels of the (test|dev) images"):
            cifar10_jpeg(split=split, folder=str(tmp_path))
    write_copy(tmp_path, "test", inverted(originals("test").images), test.labels)  # another order
    with pytest.raises(PurebenchError, match=re.escape("cifar10_jpeg_test.npz: expected the 12 test images")):
        cifar10_jpeg(split="test", folder=str(tmp_path))
    write_copy(tmp_path, "train", originals("train").images, train.labels)
    for split in ("train", "dev"):
        with pytest.raises(PurebenchError, match=re.escape("cifar10_jpeg_train.npz: expected the 4 dev images")):
            cifar10_jpeg(split=split, folder=str(tmp_path))


def test_an_unknown_split_and_a_folder_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="expected the split test, train or dev, but got 'shipped'"):
        cifar10_jpeg(split="shipped")
    with pytest.raises(PurebenchError, match=r"cifar10_jpeg_test\.npz"):
        cifar10_jpeg(folder=str(tmp_path), download=False)
