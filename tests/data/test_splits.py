"""Tests that dev and test images are disjoint, by id and by content, in every data set, and that each is refused where
the other is expected.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from purebench.api import evaluate
from purebench.boards.board import Board
from purebench.boards.bundled import find_board
from purebench.boards.derived.dev_board import dev_board
from purebench.boards.parse import load_board
from purebench.boards.selection import choose, lengthened
from purebench.core.errors import PurebenchError
from purebench.core.registry import LOCAL, Spec
from purebench.data import datasets
from purebench.data.adapt import as_image_set, load_images
from purebench.data.dev_images import dev_images, dev_spec
from purebench.data.image_set import ImageSet
from purebench.data.ordering import balanced_order
from purebench.data.splits import DEV, TEST, divided, in_dev, refuse_dev, refuse_test

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
N = 400


def made(count: int = N, **fields: object) -> ImageSet:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 10
    return ImageSet("own", pictures, labels, tuple("abcdefghij"), "made", **fields)  # type: ignore[arg-type]


def contents(data: ImageSet) -> set[str]:
    return set(replace(data, ids=()).identities)


def assert_disjoint(dev: ImageSet, test: ImageSet) -> None:
    assert len(dev)
    assert len(test)
    assert dev.split == DEV
    assert not set(dev.identities) & set(test.identities)
    assert not contents(dev) & contents(test)


def test_fashion_mnist_dev_images_are_balanced_and_none_of_the_shipped_images() -> None:
    dev, shipped = datasets.fashion_mnist(split="dev"), datasets.fashion_mnist()
    assert_disjoint(dev, shipped)
    assert dev.images.shape == (500, 1, 32, 32)
    assert (np.sort(dev.labels.reshape(50, 10), axis=1) == np.arange(10)).all()
    assert shipped.split == TEST


@pytest.mark.skipif(not DEBIAN.exists(), reason="the full Fashion-MNIST is not available")
def test_the_official_test_images_leave_out_the_dev_images() -> None:
    test, dev = datasets.fashion_mnist(split="test", folder=str(DEBIAN)), datasets.fashion_mnist(split="dev")
    assert_disjoint(dev, test)
    assert len(test) == 9500
    assert set(datasets.fashion_mnist().identities) <= set(test.identities)


def test_cifar10_dev_images_are_the_last_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        classes = ("a", "b")

        def __init__(self, home: str, *, train: bool, download: bool):
            self.data = np.random.default_rng(int(train)).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
            self.targets = [0, 1] * 6

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Small)
    monkeypatch.setattr(datasets, "CIFAR10_DEV", 5)
    dev, test, train = (datasets.cifar10(split=split, folder="x") for split in ("dev", "test", "train"))
    assert_disjoint(dev, test)
    assert dev.ids == tuple(f"train-{place}" for place in range(7, 12))
    assert (dev.images == train.images[7:]).all()


def test_a_folder_of_pictures_is_divided_by_content_whatever_the_file_names(tmp_path: Path) -> None:
    pictures = made(60).images[:, 0]
    for name, prefix in (("one", ""), ("two", "renamed-")):
        for place, picture in enumerate(pictures):
            folder = tmp_path / name / "ab"[place % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{prefix}{place if prefix else 99 - place}.png")
    parts = {
        (name, split): datasets.image_folder(folder=str(tmp_path / name), split=split, grey=True)
        for name in ("one", "two")
        for split in ("dev", "test", "")
    }
    assert_disjoint(parts["one", "dev"], parts["one", "test"])
    assert contents(parts["one", "dev"]) == contents(parts["two", "dev"])
    assert len(parts["one", "dev"]) + len(parts["one", "test"]) == len(parts["one", ""]) == 60
    with pytest.raises(PurebenchError, match="split dev or test"):
        datasets.image_folder(folder=str(tmp_path / "one"), split="train", grey=True)


def test_an_undivided_data_set_has_about_a_fifth_of_dev_images_and_none_of_the_boards() -> None:
    data = made()
    board_images = data.take(balanced_order(data.labels, 3)[:100])
    LOCAL["datasets"]["own"] = lambda: (data.images, data.labels)
    try:
        use = dev_spec(Spec("own"), 100, 3)
        dev = load_images(use)
    finally:
        LOCAL["datasets"].pop("own")
    assert use.name == "dev-images"
    assert_disjoint(dev, board_images)
    whole = divided(data, "dev")
    assert abs(len(whole) - 0.2 * N) < 4 * (0.16 * N) ** 0.5
    assert contents(dev) == contents(whole) - contents(board_images)


def test_copies_of_an_image_are_in_the_same_part() -> None:
    data = made()
    twice = data.take([*range(N), *range(N)])
    assert not contents(divided(twice, "dev")) & contents(divided(twice, "test"))


def test_declared_ids_decide_the_part() -> None:
    named = made(ids=tuple(f"patient-{place}" for place in range(N)))
    dev = divided(named, "dev")
    assert set(dev.ids) == {one for one in named.ids if in_dev(one)} != set()
    assert dev.take([1, 0]).ids == (dev.ids[1], dev.ids[0])


def test_a_board_of_which_too_few_images_are_left_has_no_dev_images() -> None:
    LOCAL["datasets"]["own"] = lambda: made(30)
    try:
        with pytest.raises(PurebenchError, match="expected at least 10 dev images"):
            dev_images(of="own", images=20)
    finally:
        LOCAL["datasets"].pop("own")


@pytest.mark.parametrize(
    "name", ["fashion-quick", "fashion-linf", "fashion-l2", "fashion-families", "fashion-certified"]
)
def test_the_dev_board_of_a_bundled_board_has_none_of_its_images(name: str) -> None:
    board = load_board(find_board(name))
    other = dev_board(board)
    assert_disjoint(load_images(other.dataset.use), load_images(board.dataset.use))
    assert other.dataset.images == min(500, board.dataset.images)
    with pytest.raises(PurebenchError, match="at most 500"):
        dev_board(board, 501)


def given(make) -> Board:
    """Returns fashion-quick on another data set, which is registered as `own`."""
    LOCAL["datasets"]["own"] = make
    board = load_board(find_board("fashion-quick"))
    return replace(board, dataset=replace(board.dataset, use=Spec("own"), images=100, block=50))


@pytest.fixture
def _own():
    yield
    LOCAL["datasets"].pop("own", None)


SHARED = {
    "no shared image": (lambda split: (split, split), ""),
    "ids": (lambda split: (split, "both"), "1 of 50 dev images"),
    "pixels": (lambda split: ("both", split), "1 of 50 dev images"),
}


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize("case", SHARED)
def test_a_dev_image_that_is_an_image_of_the_board_is_refused(case: str) -> None:
    """The last dev image shares the id or the pixels with the last test image, which the board does not use."""
    kinds, message = SHARED[case]

    def parts(split: str = "test") -> ImageSet:
        pixels, name = kinds(split)
        count = {"test": 400, "dev": 50}[split]
        images = np.random.default_rng(len(split)).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        images[-1] = {"test": 1, "dev": 2, "both": 3}[pixels]
        ids = (*(f"{split}-{place}" for place in range(count - 1)), name)
        return ImageSet("own", images, np.arange(count) % 10, tuple("abcdefghij"), "made", ids, split)

    board = given(parts)
    if message:
        with pytest.raises(PurebenchError, match=message):
            dev_board(board)
    else:
        assert dev_board(board).dataset.images == 50


@pytest.mark.usefixtures("_own")
def test_a_board_on_training_images_that_contain_the_dev_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(ids=tuple(f"train-{place}" for place in range(N)), split="train")

    def parts(split: str = "train") -> ImageSet:
        return replace(data.take(range(N - 50, N)), split=DEV) if split == DEV else data

    with pytest.raises(PurebenchError, match="50 of 50 dev images have the id or the pixels"):
        dev_board(given(parts))


@pytest.mark.usefixtures("_own")
def test_a_board_on_more_images_than_its_file_says_does_not_reach_dev_images(tmp_path: Path) -> None:
    data = made()
    board = given(lambda: data)
    dev = contents(load_images(dev_board(board).dataset.use))
    order = balanced_order(data.labels, board.dataset.seed)
    first = next(place for place in range(100, N) if contents(data.take(order[place : place + 1])) & dev)
    text = yaml.safe_dump({**board.to_dict(), "name": "own"})
    path = tmp_path / "board.yaml"
    path.write_text(text, encoding="utf-8")
    assert "lengthens own" in lengthened(choose(str(path), None, first)) if first > 100 else True
    assert lengthened(choose(str(path), None, 50)) == ""
    with pytest.raises(PurebenchError, match=r"--images: expected at most 100 .* 1 of the images from 101"):
        lengthened(choose(str(path), None, first + 1))
    with pytest.raises(PurebenchError, match=r"--images: expected at most 100"):
        evaluate("none", path, images=N, progress=False)
    divided_set = given(lambda split="test": replace(data, split=split))
    path.write_text(yaml.safe_dump({**divided_set.to_dict(), "name": "own"}), encoding="utf-8")
    assert "lengthens own" in lengthened(choose(str(path), None, N))


def test_test_images_are_refused_by_searches_and_dev_images_by_boards() -> None:
    refuse_test(datasets.fashion_mnist(split="dev"), "tune")
    refuse_dev(datasets.fashion_mnist())
    with pytest.raises(PurebenchError, match=r"tune: expected dev images, but got test images.*split=dev"):
        refuse_test(datasets.fashion_mnist(), "tune")
    with pytest.raises(PurebenchError, match=r"expected test images, but got the dev images"):
        refuse_dev(datasets.fashion_mnist(split="dev"))


def test_a_run_refuses_dev_images(tmp_path: Path) -> None:
    from purebench.execution.board_run import run_board

    board = load_board(find_board("fashion-quick"))
    board = dev_board(replace(board, attacks=board.attacks[:1], defenses=board.defenses[:1]), 10)
    with pytest.raises(PurebenchError, match="expected test images"):
        run_board(board, tmp_path / "store", workers=1)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ids": ("a",)}, "expected 400 ids"),
        ({"ids": ("a",) * N}, "every id once"),
        ({"ids": (1,) * N}, "tuple of strings"),
        ({"split": "validation"}, "dev, test, train"),
    ],
)
def test_invalid_ids_and_splits_are_rejected(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        as_image_set(made(**fields))


def test_a_pair_of_arrays_still_works() -> None:
    data = made()
    found = as_image_set((data.images, data.labels))
    assert (found.split, found.ids) == ("", ())
