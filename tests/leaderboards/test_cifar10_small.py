"""Tests the board cifar10-small: every row has its weights, and the models are as good as their cards say."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import BUNDLED

BOARD = load_board(bundled()["cifar10-small"])
ROWS = {choice.name: choice.use for choice in BOARD.defenses}
WEIGHTS = sorted(path.stem for path in BUNDLED.glob("cifar10-*.safetensors"))
FIRST = re.compile(r"^\| (clean accuracy, .+|PSNR, .+) \| ([\d.]+) \|$", re.MULTILINE)


@cache
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Return 20 test images of CIFAR-10 from Foolbox's wheel, after JPEG compression of quality 75, and their labels.

    Pillow reduces the chroma in another way than the encoder of the copy, by a few levels.
    """
    foolbox = pytest.importorskip("foolbox")
    images, labels = [], []
    for file in sorted((Path(foolbox.__file__).parent / "data").glob("cifar10_*.png")):
        buffer = io.BytesIO()
        Image.open(file).convert("RGB").save(buffer, "JPEG", quality=75)
        images.append(np.asarray(Image.open(buffer)).transpose(2, 0, 1))
        labels.append(int(file.stem.rsplit("_", 1)[1]))
    assert len(labels) == 20
    return torch.as_tensor(np.stack(images)).float() / 255, torch.as_tensor(labels)


def figures(name: str) -> dict[str, float]:
    """Return accuracies and ratios of a model card."""
    card = (BUNDLED / f"{name}.md").read_text(encoding="utf-8")
    return {words: float(value) for words, value in FIRST.findall(card)}


def test_all_weights_are_those_of_rows_and_the_classifier_and_the_board_is_on_the_jpeg_copy() -> None:
    text = Path(bundled()["cifar10-small"]).read_text(encoding="utf-8")
    used = set(re.findall(r"(?:weights=|classifier=|^classifier: )(cifar10-[\w-]+)", text, re.MULTILINE))
    assert used == set(WEIGHTS)
    assert BOARD.dataset.use.name == "cifar10-jpeg"
    assert float(BOARD.threat.radius) == pytest.approx(8 / 255)


@pytest.mark.parametrize("name", ROWS)
def test_each_row_recognises_most_of_20_images(name: str) -> None:
    x, labels = pictures()
    classifier = create("classifiers", Spec(BOARD.classifier.name))
    defense = create("defenses", ROWS[name], classifier=classifier)
    with seeded(name), torch.no_grad():
        right = int((defense(x).argmax(1) == labels).sum())
    assert right >= 9, "chance is 2, and a classifier of 60 % gets 9 or more with probability 0.94"


def test_the_undefended_classifier_reaches_the_required_accuracy() -> None:
    assert figures("cifar10-resnet")["clean accuracy, 10,000 test images (JPEG 75)"] >= 0.88


@pytest.mark.parametrize("name", WEIGHTS)
def test_cards_name_the_images_and_those_of_generative_models_state_the_error_of_reconstruction(name: str) -> None:
    card = (BUNDLED / f"{name}.md").read_text(encoding="utf-8")
    assert "CIFAR-10 (Krizhevsky 2009, published without a licence) as JPEG files of quality 75" in card
    assert name in ("cifar10-resnet", "cifar10-fast-at") or any(words.startswith("PSNR") for words in figures(name))
