"""Tests that pictures keep their precision and aspect ratio, and that resizing agrees with torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from purebench.core.errors import PurebenchError
from purebench.data import datasets
from purebench.data.adapt import as_image_set
from purebench.data.picture_files import Geometry

RNG = np.random.default_rng(0)


def save(folder: Path, picture: Image.Image, name: str = "1.png", label: str = "a") -> Path:
    (folder / label).mkdir(parents=True, exist_ok=True)
    picture.save(folder / label / name)
    return folder


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def read(folder: Path, **options: Any) -> np.ndarray:
    return datasets.image_folder(folder=str(folder), **options).images


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (33, 32), (50, 50), (7, 100)])
def test_resize_and_center_crop_agree_with_torchvision(tmp_path: Path, shape: tuple[int, int]) -> None:
    folder, picture = save(tmp_path, noise(*shape)), None
    picture = Image.open(folder / "a" / "1.png").convert("RGB")
    both = transforms.Compose([transforms.Resize(26), transforms.CenterCrop((23, 20))])
    assert (read(folder, resize=26, center_crop=[23, 20])[0].transpose(1, 2, 0) == np.asarray(both(picture))).all()
    resized = np.asarray(transforms.Resize(26)(picture))
    assert (read(folder, resize=26)[0].transpose(1, 2, 0) == resized).all()
    crop = min(shape)
    assert (read(folder, center_crop=crop)[0].transpose(1, 2, 0) == transforms.CenterCrop(crop)(picture)).all()
    squashed = np.asarray(transforms.Resize((16, 24))(picture))
    assert (read(folder, size=[16, 24], squash=True)[0].transpose(1, 2, 0) == squashed).all()


def test_pictures_are_unchanged_without_a_size(tmp_path: Path) -> None:
    picture = noise(6, 9)
    folder = save(tmp_path, picture)
    assert (read(folder)[0].transpose(1, 2, 0) == np.asarray(picture)).all()
    assert read(folder, size=[6, 9]).shape == (1, 3, 6, 9)
    assert read(folder, size=[12, 18]).shape == (1, 3, 12, 18)
    save(folder, noise(6, 8), "2.png")
    with pytest.raises(
        PurebenchError, match=r"2\.png: expected \[6, 9\] pixels, as in the pictures before it, but got \[6, 8\]"
    ):
        read(folder)


def test_a_size_that_distorts_pictures_is_rejected(tmp_path: Path) -> None:
    wide = np.zeros((32, 64), np.uint8)
    wide[:, 16:48] = RNG.integers(0, 256, (32, 32))
    folder = save(tmp_path, Image.fromarray(wide))
    with pytest.raises(
        PurebenchError, match=r"1\.png: .* but got \[32, 64\] pixels, .*resize=32 and center_crop=\[32, 32\]"
    ) as caught:
        read(folder, size=32, grey=True)
    assert "squash=true" in str(caught.value)
    assert (read(folder, resize=32, center_crop=[32, 32], grey=True)[0, 0] == wide[:, 16:48]).all()


def test_a_side_that_differs_only_by_rounding_is_accepted(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a", noise(500, 501)), size=224).shape == (1, 3, 224, 224)
    assert read(save(tmp_path / "b", noise(333, 500)), size=[50, 75]).shape == (1, 3, 50, 75)
    with pytest.raises(PurebenchError, match="distorted"):
        read(save(tmp_path / "c", noise(500, 502)), size=224)


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_pictures_of_16_bits_keep_their_precision(tmp_path: Path, ending: str) -> None:
    values = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    values[0, :2] = 0, 65535
    path = save(tmp_path, Image.fromarray(values), f"1.{ending}")
    images = read(path, grey=True)
    assert images.dtype == np.float32
    assert (images[0, 0] == values.astype(np.float32) / np.float32(65535)).all()
    assert np.array_equal(read(path), np.repeat(images, 3, 1))
    half = read(path, size=4, grey=True)
    np.testing.assert_allclose(half.mean(), images.mean(), atol=0.02)
    assert 0 <= half.min() <= half.max() <= 1


def test_pictures_of_16_bits_with_byte_values_become_bytes_and_mix_with_them(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    folder = save(tmp_path, Image.fromarray(values.astype(np.uint16) * 257))
    save(folder, Image.fromarray(values), "2.png", "b")
    found = as_image_set(datasets.image_folder(folder=str(folder), grey=True))
    assert found.images.dtype == np.uint8
    assert (found.images == values).all()
    assert found.labels.tolist() == [0, 1]


def test_float_pictures_are_accepted_in_0_1_and_rejected_outside(tmp_path: Path) -> None:
    values = RNG.random((8, 8)).astype(np.float32)
    assert (read(save(tmp_path / "a", Image.fromarray(values), "1.tiff"), grey=True)[0, 0] == values).all()
    for name, scale in (("b", 255), ("c", -1)):
        folder = save(tmp_path / name, Image.fromarray(values * np.float32(scale)), "1.tiff")
        with pytest.raises(
            PurebenchError, match=r"1\.tiff: expected 8 or 16 bits per value, or floats in \[0,1\], but got TIFF"
        ):
            read(folder)
    ints = save(tmp_path / "d", Image.fromarray(RNG.integers(0, 2, (8, 8), dtype=np.int32)), "1.tiff")
    with pytest.raises(PurebenchError, match="mode I"):
        read(ints)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size: expected a whole number of pixels from 1 to 16384, or .height, width., but got 0"),
        ({"size": True}, "but got True"),
        ({"size": [8, 8, 8]}, r"but got \[8, 8, 8\]"),
        ({"size": 8.0}, r"but got 8\.0"),
        ({"size": 10**9}, "but got 1000000000"),
        ({"resize": [8, 8]}, r"resize: .* 16384, but got \[8, 8\]"),
        ({"center_crop": [8, "8"]}, "center_crop: .* but got '8'"),
        ({"size": 8, "resize": 8}, "but got both; remove size"),
        ({"size": 8, "center_crop": 8}, "but got both; remove size"),
        ({"squash": True}, "give size"),
        ({"size": 8, "squash": "yes"}, "squash: expected true or false, but got 'yes'"),
    ],
)
def test_invalid_parameters_are_rejected_before_any_picture_is_read(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        Geometry.checked(*(given.get(name, False if name == "squash" else None) for name in ORDER))


ORDER = ("size", "squash", "resize", "center_crop")


def test_a_crop_larger_than_the_picture_is_rejected(tmp_path: Path) -> None:
    folder = save(tmp_path, noise(20, 30))
    with pytest.raises(PurebenchError, match=r"1\.png: expected at least \[16, 16\] .* but got \[10, 15\]"):
        read(folder, resize=10, center_crop=16)
    with pytest.raises(PurebenchError, match="sides of at most 16384"):
        read(save(tmp_path / "long", noise(1, 20)), resize=1000)
