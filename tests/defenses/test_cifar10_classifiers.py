"""Tests the shipped classifiers of CIFAR-10 on 20 images of Foolbox's wheel, whose file names end with the label."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from purebench.attacks.gradient.pgd import PGD
from purebench.core.defense import Defense
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import BUNDLED

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    foolbox = pytest.importorskip("foolbox")
    files = sorted((Path(foolbox.__file__).parent / "data").glob("cifar10_*.png"))
    pixels = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    return torch.from_numpy(pixels.copy()).float() / 255, torch.tensor([int(file.stem[-1]) for file in files])


@pytest.mark.parametrize(("name", "clean", "robust"), [("cifar10-resnet", 14, 0), ("cifar10-fast-at", 10, 3)])
def test_classifiers_answer_rightly_and_only_the_trained_one_withstands_an_attack(
    images: tuple[torch.Tensor, torch.Tensor], name: str, clean: int, robust: int
) -> None:
    x, y = images
    assert len(y) == 20
    defense = Defense(create("classifiers", Spec(name)))
    with torch.no_grad():
        assert int((defense(x).argmax(1) == y).sum()) >= clean
    with seeded("cifar10"):
        found = PGD(steps=20)(defense, x, y, eps="8/255")
    with torch.no_grad():
        left = int((defense(found).argmax(1) == y).sum())
    assert left >= robust
    assert robust or left <= 1


def test_the_undefended_classifier_is_right_on_88_percent_of_the_test_images() -> None:
    card = (BUNDLED / "cifar10-resnet.md").read_text(encoding="utf-8")
    (value,) = re.findall(r"^\| clean accuracy, 10,000 test images \(JPEG 75\) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert float(value) >= 0.88


@pytest.mark.parametrize(("name", "schedule"), [("cifar10-hvae", "cosine"), ("cifar10-nvae", "linear")])
def test_the_figures_of_mlvgms_in_the_docs_are_those_of_the_cards(name: str, schedule: str) -> None:
    card = (BUNDLED / f"{name}.md").read_text(encoding="utf-8")
    value = dict(
        re.findall(r"^\| (?:clean accuracy, |PSNR, )?(.+), 1,000 test images.* \| ([\d.]+) \|$", card, re.MULTILINE)
    )
    (psnr,) = re.findall(r"^\| PSNR, .+ \| ([\d.]+) \|$", card, re.MULTILINE)
    (minutes,) = re.findall(r"Cost: ([\d.]+) minutes", card)
    some, more, plain, bare = (
        100 * float(value[key])
        for key in (f"{schedule} × 0.5", f"{schedule} × 0.7", "reconstruction (alpha 0)", "no purifier")
    )
    page = DOCS.read_text(encoding="utf-8")
    (line,) = (one for one in page.splitlines() if one.startswith(f"| {name} |"))
    told = f"{plain:.1f} % reconstructed; {some:.1f} % purified by {schedule} × 0.5, {more:.1f} % by {schedule} × 0.7"
    assert line.removesuffix(" |").split(" | ")[3:] == [f"{float(minutes):.0f} min", f"{float(psnr):.1f} dB", told]
    assert f"of which it classifies {bare:.1f} % correctly without a purifier" in page
    assert max(some, more) >= 60


def test_the_figures_of_the_ddpm_in_the_docs_are_those_of_its_card() -> None:
    card = (BUNDLED / "cifar10-ddpm.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| clean accuracy, t\* (\d+), 4 ddpm steps, 500 .+ \| ([\d.]+) \|$", card, re.MULTILINE)
    value = {t: 100 * float(share) for t, share in found}
    (minutes,) = re.findall(r"Cost: ([\d.]+) minutes", card)
    told = f"{value['75']:.1f} % behind DiffPure, t* 75 in 4 DDPM steps, {value['150']:.1f} % with t* 150 (500 images)"
    assert f"| 4.2 M | {float(minutes):.0f} min | – | {told} |" in DOCS.read_text(encoding="utf-8")
    assert min(value.values()) >= 60


def test_the_figures_of_the_vae_in_the_docs_are_those_of_its_card() -> None:
    card = (BUNDLED / "cifar10-vae.md").read_text(encoding="utf-8")
    (share,) = re.findall(r"^\| clean accuracy, posterior mean, 2,000 .+ \| ([\d.]+) \|$", card, re.MULTILINE)
    (psnr,) = re.findall(r"^\| PSNR, posterior mean, .+ \| ([\d.]+) \|$", card, re.MULTILINE)
    (minutes,) = re.findall(r"Cost: ([\d.]+) minutes", card)
    told = f"{float(psnr):.1f} dB | {100 * float(share):.1f} % reconstructed (2,000 images) |"
    assert f"| 3.7 M | {float(minutes):.0f} min | {told}" in DOCS.read_text(encoding="utf-8")
    assert float(share) >= 0.6


@pytest.mark.parametrize("name", ["cifar10-resnet", "cifar10-fast-at"])
def test_the_figures_in_the_docs_are_those_of_the_cards(name: str) -> None:
    card = (BUNDLED / f"{name}.md").read_text(encoding="utf-8")
    figures = [f"{100 * float(value):.1f} %" for value in re.findall(r"^\| .+ \| ([\d.]+) \|$", card, re.MULTILINE)]
    (minutes,) = re.findall(r"Cost: ([\d.]+) minutes", card)
    (line,) = (one for one in DOCS.read_text(encoding="utf-8").splitlines() if one.startswith(f"| {name} |"))
    assert line.removesuffix(" |").split(" | ")[2:] == [f"{float(minutes):.0f} min", *(*figures, "–")[:2]]
