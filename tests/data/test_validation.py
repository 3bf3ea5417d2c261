"""Tests that valid datasets are converted exactly and that ambiguous ones are rejected with one sentence."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from purebench import evaluate
from purebench.boards.parse import parse_board
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, register
from purebench.data import validation
from purebench.data.adapt import as_image_set, load_images
from purebench.data.datasets import ImageSet
from purebench.data.validation import check_classes
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.results.files.stored_board import originals

BYTES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
BYTES[0, 0, 0, :2] = 0, 255
FLOATS = BYTES.astype(np.float32) / np.float32(255)
LABELS = np.array([0, 1, 2, 3, 1, 0])
CLASSES = ("ant", "bee", "cat", "dog")


def image_set(images: Any = BYTES, labels: Any = LABELS, classes: Any = CLASSES) -> ImageSet:
    return ImageSet("mine", images, labels, classes, "here")


@pytest.mark.parametrize(
    "images",
    [
        BYTES,
        FLOATS,
        FLOATS.astype(np.float64),
        BYTES / 255,
        FLOATS.astype(">f4"),
        torch.tensor(BYTES),
        torch.tensor(FLOATS),
        torch.tensor(FLOATS, dtype=torch.float64).requires_grad_(),
        torch.tensor(BYTES).float().div(255),  # as torchvision's ToTensor
        np.asfortranarray(BYTES),
        BYTES.tolist() and [image / 255 for image in BYTES],
    ],
)
def test_the_same_images_in_any_type_give_the_same_dataset(images: Any) -> None:
    found = as_image_set(image_set(images))
    assert found.images.dtype == np.uint8
    assert found.hash == image_set().hash
    assert found.floats().tobytes() == FLOATS.tobytes()


def test_every_byte_is_recovered_from_float32_and_float64() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for floats in (every / 255, every.astype(np.float32) / np.float32(255)):
        assert (as_image_set((floats, [0])).images == every).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float16, np.float32]))
def test_floats_that_are_not_bytes_are_kept_exactly(seed: int, kind: Any) -> None:
    values = np.random.default_rng(seed).random((3, 1, 4, 4)).astype(kind)
    found = as_image_set((values, [0, 1, 0]))
    assert found.images.dtype == np.float32
    assert (found.images == values).all()
    assert found.floats() is not None
    assert (found.floats() == values).all()
    assert (found.take([2, 0]).floats() == values[[2, 0]]).all()


def test_one_float_that_is_not_a_byte_keeps_all_floats_even_in_a_later_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "CHUNK", 2)
    changed = FLOATS.copy()
    changed[5, 2, 3, 4] = np.nextafter(np.float32(0.5), np.float32(1))
    assert (as_image_set(image_set(changed)).images == changed).all()
    assert as_image_set(image_set(FLOATS)).hash == image_set().hash
    changed[5, 2, 3, 4] = 1.5
    with pytest.raises(PurebenchError, match=r"from 0 to 1\.5"):
        as_image_set(image_set(changed))


def test_the_hash_distinguishes_float_images_from_bytes() -> None:
    assert image_set(BYTES).hash != image_set(FLOATS).hash


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint64, torch.int32])
def test_integer_labels_of_any_width_become_int64(kind: Any) -> None:
    labels = torch.tensor(LABELS, dtype=kind) if isinstance(kind, torch.dtype) else LABELS.astype(kind)
    found = as_image_set(image_set(labels=labels))
    assert found.labels.dtype == np.int64
    assert (found.labels == LABELS).all()


@pytest.mark.parametrize(
    "made",
    [
        (BYTES, LABELS),
        [FLOATS, LABELS.tolist()],
        (torch.tensor(FLOATS), torch.tensor(LABELS)),
        TensorDataset(torch.tensor(FLOATS), torch.tensor(LABELS)),
    ],
)
def test_pairs_and_tensor_datasets_get_numbers_as_class_names(made: Any) -> None:
    found = as_image_set(made, "pair")
    assert (found.name, found.classes) == ("pair", ("0", "1", "2", "3"))
    assert found.hash == image_set().hash


ONE_HOT = np.eye(4, dtype=np.int64)[LABELS]
REJECTED: list[tuple[Callable[[], Any], str]] = [
    (lambda: image_set(FLOATS * 2 - 1), r"\[0,1\], but got values from -1 to 1.*\(images \+ 1\) / 2"),
    (lambda: image_set((FLOATS - 0.4) / 0.2), r"values from -2 to 3.*normalisation, which belongs to the classifier"),
    (lambda: image_set(BYTES.astype(np.float32)), r"values from 0 to 255; divide them by 255"),
    (lambda: image_set(FLOATS / 255), r"divided by 255 twice"),
    (lambda: image_set(FLOATS.astype(np.uint8)), r"no value is above 1, as if floats in \[0,1\] had been cast"),
    (lambda: image_set(np.nextafter(FLOATS, np.float32(2))), r"to 1\.00000012; scale or clip"),
    (lambda: image_set(BYTES.transpose(0, 2, 3, 1)), r"\[N,C,H,W\].*\[6, 4, 5, 3\]; .*transpose\(0, 3, 1, 2\)"),
    (lambda: image_set(BYTES[:, :2]), r"1 or 3 channels, but got \[6, 2, 4, 5\]"),
    (lambda: image_set(BYTES[:, 0]), r"\[6, 4, 5\]; add the channel axis: images\[:, None\]"),
    (lambda: image_set(BYTES.reshape(6, -1)), r"\[6, 60\]; reshape"),
    (lambda: image_set(BYTES[:0], LABELS[:0]), r"\[0, 3, 4, 5\], which is empty"),
    (lambda: image_set(BYTES.astype(np.int64)), r"int64 from 0 to 255; convert them: images\.astype\('uint8'\)"),
    (lambda: image_set(BYTES.astype(np.uint16) * 257), r"uint16 from 0 to 65535; .*scale them"),
    (lambda: image_set(BYTES > 99), r"but got bool"),
    (lambda: image_set([BYTES[0], BYTES[1, :, :2]]), "expected images as one array"),
    (lambda: image_set("pictures"), "array of numbers, but got str"),
    (lambda: image_set(FLOATS.astype(complex)), "array of numbers, but got ndarray of complex128"),
    (lambda: image_set(torch.tensor(FLOATS).to_sparse()), "expected images as one array"),
    (lambda: image_set(labels=LABELS.astype(np.float32)), r"float32; convert them: labels\.astype\('int64'\)"),
    (lambda: image_set(labels=ONE_HOT), r"one-hot rows \[6, 4\]; use labels\.argmax\(1\)"),
    (lambda: image_set(labels=torch.tensor(ONE_HOT).float()), r"one-hot rows \[6, 4\]"),
    (lambda: image_set(labels=LABELS[:, None]), r"a column \[6, 1\]; use labels\[:, 0\]"),
    (lambda: image_set(labels=ONE_HOT + 1), r"the shape \[6, 4\]"),
    (lambda: image_set(labels=3), r"the shape \[\]"),
    (lambda: image_set(labels=LABELS + 1), r"labels below 4, .* but got 4; number the labels from 0: labels - 1"),
    (lambda: image_set(labels=LABELS * 3), r"labels below 4, .* but got 9; name all classes"),
    (lambda: image_set(labels=LABELS - 1), r"the label -1"),
    (lambda: image_set(labels=LABELS[:5]), r"expected integer labels \[6\], one per image, but got 5 labels"),
    (lambda: image_set(labels=[*LABELS, 0]), r"but got 7 labels"),
    (lambda: image_set(labels=list("abcdab")), "array of numbers, but got list"),
    (lambda: image_set(labels=np.full(6, 2**63, np.uint64)), "the label 9223372036854775808"),
    (lambda: image_set(classes="ants"), "tuple of names .* but got 'ants'"),
    (lambda: image_set(classes=7), "tuple of names .* but got 7"),
    (lambda: image_set(classes=(0, 1, 2, 3)), r"but got 0 among them; pass strings: tuple\(map\(str, classes\)\)"),
    (lambda: image_set(classes=("ant", "bee", "ant", "dog")), "'ant' more than once"),
    (lambda: image_set(classes=("ant", " ", "cat", "dog")), "' ' among them"),
    (lambda: (BYTES, LABELS, 1), "a pair .* but got tuple of 3"),
    (lambda: (LABELS, BYTES), r"\[N,C,H,W\].* but got \[6\]"),
    (lambda: (BYTES, [10**12] * 6), "at most 1,000,000 classes"),
    (lambda: BYTES, "but got ndarray without labels"),
    (lambda: TensorDataset(torch.tensor(FLOATS)), "but got TensorDataset of 1"),
    (lambda: torch.utils.data.Subset(TensorDataset(torch.tensor(FLOATS)), [0]), "but got Subset"),
    (lambda: {"images": BYTES, "labels": LABELS}, "but got dict"),
]


@pytest.mark.parametrize(("make", "message"), REJECTED)
def test_ambiguous_and_invalid_datasets_are_rejected_with_one_sentence(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PurebenchError, match=message) as caught:
        as_image_set(make())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_error_names_the_first_non_finite_image(bad: float) -> None:
    images = FLOATS.copy()
    images[[3, 5], 0, 0, 0] = bad
    with pytest.raises(PurebenchError, match="NaN or infinity, first in image 3"):
        as_image_set(image_set(images))


def test_classes_and_labels_are_compared_with_the_outputs_of_a_classifier() -> None:
    data = image_set()
    assert check_classes(data, 4) is None
    assert "4 classes and 5 outputs" in str(check_classes(data, 5))
    assert check_classes(image_set(labels=LABELS % 2), 2) is not None
    with pytest.raises(PurebenchError, match=r"labels from 0 to 2 .* but got 3; use a classifier with all classes"):
        check_classes(data, 3)
    with pytest.raises(PurebenchError, match=r"labels from 0 to 3 .* but got 4; number them from 0"):
        check_classes(image_set(labels=LABELS + 1, classes=("", *CLASSES)), 4)


class Linear(torch.nn.Module):
    """K logits of a fixed random linear map."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(60, outputs, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight


register("classifiers", "test-linear")(Linear)


def board(data: str, **changes: Any) -> Any:
    return parse_board(
        {
            "name": "own",
            "dataset": {"use": data, "images": 6, "block": 3},
            "classifier": "test-linear",
            "threat": {"norm": "linf", "radius": "8/255"},
            "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=3)", "gradient": "exact"}},
            "defenses": {"none": "none"},
            **changes,
        }
    )


def test_a_board_gives_the_same_records_for_bytes_and_floats(tmp_path: Path) -> None:
    found = []
    for name, made in (("test-bytes", (BYTES, LABELS)), ("test-floats", (torch.tensor(FLOATS), torch.tensor(LABELS)))):
        register("datasets", name)(lambda made=made: made)
        context, records = run_board(board(name), tmp_path / name, workers=1)
        assert load_images(Spec(name)).hash == context.data
        found.append([(record.attack, record.outcomes, record.draws, record.distances) for record in records])
    assert found[0] == found[1]


def test_originals_of_float_images_are_rounded_to_bytes() -> None:
    halves = np.clip(FLOATS + np.float32(0.3 / 255), 0, 1)
    register("datasets", "test-halves")(lambda: image_set(halves))
    row: Any = SimpleNamespace(attacks=[SimpleNamespace(pictures=[SimpleNamespace(image=2)])])
    found = originals(load_images(Spec("test-halves")).take([5, 2]), [5, 2], [row])  # a subset in the order of a run
    assert list(found) == [2]
    (shown,) = found.values()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))))
    assert (picture.transpose(2, 0, 1) == BYTES[2]).all()


def test_images_labels_and_radius_are_checked_before_a_run() -> None:
    register("datasets", "test-bytes")(lambda: image_set())
    assert prepare(board("test-bytes")).warnings == ()
    rejected: list[tuple[dict[str, Any], str]] = [
        ({"classifier": "test-linear(outputs=3)"}, "labels from 0 to 2"),
        (
            {"dataset": {"use": "test-bytes", "images": 10**12, "block": 3}},
            r"dataset\.images: expected a whole number of at most 10000000, but got 1000000000000",
        ),
        (
            {"dataset": {"use": "test-bytes", "images": 1000, "block": 3}},
            r"dataset\.images: expected at most 6, .*1000",
        ),
        (
            {"dataset": {"use": "test-bytes", "images": 6, "block": 10**5000}},
            r"dataset\.block: expected a whole number of at most 10000000, but got .* more than 40 digits",
        ),
        (
            {"dataset": {"use": "test-bytes", "images": 6, "block": 7}},
            r"dataset\.block: expected at most 6, .*7",
        ),
        (
            {"threat": {"norm": "l2", "radius": 7.75}},
            r"threat\.radius: expected at most 7\.74.* 7\.75/255 meant",
        ),
    ]
    for changes, message in rejected:
        with pytest.raises(PurebenchError, match=message):
            prepare(board("test-bytes", **changes))
    assert prepare(board("test-bytes", threat={"norm": "l2", "radius": 60**0.5})).warnings == ()


def test_a_possibly_missing_class_gives_a_message_and_a_python_warning(tmp_path: Path) -> None:
    register("datasets", "test-bytes")(lambda: image_set())
    wide = board("test-bytes", classifier="test-linear(outputs=7)", attacks={"clean": {"use": "clean"}})
    message: list[str] = []
    run_board(wide, tmp_path / "s", workers=1, tell=message.append)
    assert len(message) == 1
    assert "4 classes and 7 outputs" in message[0]
    with pytest.warns(UserWarning, match="4 classes and 7 outputs"):
        evaluate(board=wide, store=tmp_path / "s", progress=False)


def test_unused_and_failing_classifiers_are_not_compared(tmp_path: Path) -> None:
    register("datasets", "test-bytes")(lambda: image_set())
    register("classifiers", "test-broken")(lambda: torch.nn.Linear(3, 2))
    assert prepare(board("test-bytes", classifier="test-broken")).warnings == ()
    (tmp_path / "own.py").write_text(
        "import torch\n\nclass Own(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(1, 1)\n",
        encoding="utf-8",
    )
    alone = {"classifier": "test-linear(outputs=2)", "defenses": {"own": f"{tmp_path}/own.py:Own"}}
    assert prepare(board("test-bytes", **alone)).warnings == ()
