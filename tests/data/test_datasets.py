"""Tests of the datasets: the bundled subset, file formats, hashes, and balanced orders."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purebench.core.errors import PurebenchError
from purebench.data import datasets
from purebench.execution.context import balanced_order


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(int(side).to_bytes(4, "big") for side in values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def fashion_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for images, labels in datasets.FASHION_FILES.values():
        (tmp_path / f"{images}.gz").write_bytes(gzip.compress(idx(rng.integers(0, 256, (7, 28, 28)))))
        (tmp_path / labels).write_bytes(idx(np.arange(7)))
    return tmp_path


def test_the_bundled_subset_is_balanced_in_every_ten_images_and_padded() -> None:
    data = datasets.fashion_mnist()
    assert data.images.shape == (1000, 1, 32, 32)
    assert data.images.dtype == np.uint8
    assert (np.sort(data.labels.reshape(100, 10), axis=1) == np.arange(10)).all()
    border = data.images.copy()
    border[:, :, 2:-2, 2:-2] = 0
    assert not border.any()
    floats = data.floats()
    assert floats.dtype == np.float32
    assert floats.min() == 0
    assert floats.max() == 1


def test_full_datasets_are_read_from_a_folder(fashion_folder: Path) -> None:
    for split in ("train", "test"):
        data = datasets.fashion_mnist(split=split, folder=str(fashion_folder))
        assert data.images.shape == (7, 1, 32, 32)
        assert data.labels.tolist() == list(range(7))


def test_the_bundled_images_are_those_of_the_full_dataset(tmp_path: Path) -> None:
    """If the full test set is available, the recorded positions of the subset give the same pixels."""
    home = Path("/usr/share/datasets/fashion-mnist")
    if not home.exists():
        pytest.skip("the full Fashion-MNIST is not available")
    full = datasets.fashion_mnist(split="test", folder=str(home))
    stored = np.load(Path(datasets.__file__).with_name("fashion_mnist_1000.npz"))
    assert (full.images[stored["index"]] == datasets.fashion_mnist().images).all()
    assert (full.labels[stored["index"]] == datasets.fashion_mnist().labels).all()


def test_missing_files_and_unknown_splits_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="dataset-fashion-mnist"):
        datasets.fashion_mnist(split="test", folder=str(tmp_path))
    with pytest.raises(PurebenchError, match="split"):
        datasets.fashion_mnist(split="validation")


@pytest.mark.parametrize("damage", ["cut", "other", "gzip"])
def test_errors_name_damaged_idx_files(tmp_path: Path, damage: str) -> None:
    whole = idx(np.zeros((3, 4)))
    path = tmp_path / "file"
    path.write_bytes({"cut": whole[:-1], "other": b"\x89PNG" + whole, "gzip": gzip.compress(whole)[:-12]}[damage])
    with pytest.raises(PurebenchError, match=str(path)):
        datasets.read_idx(path)


def test_cifar10_is_read_from_an_npz_of_jpegs(tmp_path: Path) -> None:
    pictures = [np.full((32, 32, 3), value, np.uint8) for value in (0, 100, 250)]
    files = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95)
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    path = tmp_path / "c.npz"
    np.savez(path, jpeg=np.concatenate(files), offsets=offsets, labels=[2, 0, 1], classes=["a", "b", "c"])
    data = datasets.cifar10(npz=str(path))
    assert data.images.shape == (3, 3, 32, 32)
    assert data.labels.tolist() == [2, 0, 1]
    assert data.classes == ("a", "b", "c")
    assert np.abs(data.images.astype(int)[:, :, 5, 5] - np.array([[0], [100], [250]])).max() <= 2
    np.savez(path, jpeg=[1])
    with pytest.raises(PurebenchError, match="offsets"):
        datasets.cifar10(npz=str(path))
    with pytest.raises(PurebenchError, match="cifar10"):
        datasets.cifar10(folder=str(tmp_path))


def test_image_folder_keeps_labels_when_a_class_is_missing(tmp_path: Path) -> None:
    for name, value in (("ant", 10), ("cat", 200)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(tmp_path / name / "1.png")
    data = datasets.image_folder(folder=str(tmp_path), size=8, squash=True, classes=["ant", "bee", "cat"])
    assert data.labels.tolist() == [0, 2]
    assert data.images.shape == (2, 3, 8, 8)
    assert data.images[1].mean() == 200
    assert datasets.image_folder(folder=str(tmp_path), size=8, squash=True, grey=True).images.shape == (2, 1, 8, 8)
    with pytest.raises(PurebenchError, match="ant"):
        datasets.image_folder(folder=str(tmp_path), size=8, classes=["bee"])
    with pytest.raises(PurebenchError, match="but found none"):
        datasets.image_folder(folder=str(tmp_path / "ant"), size=8, classes=["x"])


def test_the_hash_depends_on_the_order_of_images() -> None:
    data = datasets.fashion_mnist()
    some = data.take([3, 1])
    assert some.hash == data.take([3, 1]).hash
    assert some.hash != data.take([1, 3]).hash
    assert some.images.shape == (2, 1, 32, 32)


def test_the_order_of_a_board_is_a_balanced_permutation_determined_by_its_seed() -> None:
    labels = np.repeat(np.arange(5), 20)
    order = balanced_order(labels, 3)
    assert sorted(order) == list(range(100))
    assert (order == balanced_order(labels, 3)).all()
    assert (order != balanced_order(labels, 4)).any()
    for length in range(1, 100):
        counts = np.bincount(labels[order[:length]], minlength=5)
        assert counts.max() - counts.min() <= 1
