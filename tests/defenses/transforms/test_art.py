"""Tests ART's preprocessing defences against direct calls and purebench's own, and their gradient estimates."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from purebench.attacks.views.gradient_modes import bpda
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.transforms.art import LEFT_OUT, RANDOM, ArtPreprocessing, art_defences, from_art, usable
from purebench.defenses.transforms.filters import Median
from purebench.defenses.transforms.jpeg import JPEG
from purebench.defenses.transforms.simple import Quantise

X = torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(0))
OPTIONS = {"Cutout": {"length": 3}, "CutoutPyTorch": {"length": 3}}
KORNIA = importlib.util.find_spec("kornia") is not None
RUNNABLE = [name for name in usable(art_defences()) if KORNIA or name != "SpatialSmoothingPyTorch"]


def test_every_art_defence_is_usable_or_left_out_with_a_reason():
    out = {name for names in LEFT_OUT.values() for name in names}
    assert out <= art_defences().keys()
    assert set(usable(art_defences())) == art_defences().keys() - out
    assert set(RANDOM) <= set(RUNNABLE)
    for name in out:
        with pytest.raises(PurebenchError, match=f"art:{name}: cannot be used, because"):
            from_art(name)


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_defence_returns_images_and_is_random_only_if_declared(name):
    made, found = from_art(name, **OPTIONS.get(name, {})), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(made(X))
    assert found[0].shape == X.shape
    assert 0 <= float(found[0].min()) <= float(found[0].max()) <= 1
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) != made.random
    assert not torch.equal(found[0], X) or name == "FeatureSqueezing"  # by default to 8 bits


def test_defences_agree_with_their_purebench_equivalents():
    """Median, JPEG and rounding agree with purebench's own, so the channels are in the right order."""
    assert torch.allclose(from_art("FeatureSqueezing", bit_depth=3)(X), Quantise(8)(X), atol=1e-6)
    grey = ((255 * X[:, :1]).floor() + 0.3) / 255  # ART truncates where purebench rounds
    assert torch.allclose(from_art("JpegCompression", quality=50)(grey), JPEG(50)(grey), atol=1e-6)
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(from_art("SpatialSmoothing", window_size=3)(X)[inside], Median(3)(X)[inside])


def test_total_variation_is_called_with_channels_last():
    made = from_art("TotalVarMin", prob=0.5, max_iter=3)
    torch.manual_seed(0)
    found = made(X)
    torch.manual_seed(0)
    with seeded("art", str(int(torch.randint(2**62, ())))):
        expected = made.defence(X.permute(0, 2, 3, 1).numpy())[0]
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected)


class Scaled:
    """Stand-in for an ART class, channels last, with the gradient estimate 3 · gradient · image."""

    def __call__(self, x: np.ndarray, y: object = None) -> tuple[np.ndarray, object]:
        return np.rint(x), y

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        assert x.shape == grad.shape == (3, 12, 10, 3)
        return 3 * grad * x


def test_surrogate_gradient_is_the_gradient_estimate_of_the_defence():
    made, x, weights = (
        ArtPreprocessing(Scaled(), first=False, random=False),
        X.clone().requires_grad_(),
        torch.rand_like(X),
    )
    (gradient,) = torch.autograd.grad((made.surrogate(x) * weights).sum(), x)
    assert torch.allclose(gradient, 3 * weights * X)
    assert not made(x).requires_grad


def test_bpda_uses_the_gradient_estimate_of_the_defence():
    def classifier(x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)

    defense = as_defense(from_art("JpegCompression", quality=30), classifier)  # type: ignore[arg-type]
    found = bpda(defense).look(X, torch.zeros(3, dtype=torch.long), lambda logits, labels: -logits[:, 0])
    assert torch.equal(found.gradient, torch.full_like(X, -1.0))  # ART's estimate is the identity


@pytest.mark.skipif(not KORNIA, reason="kornia is not installed")
def test_spatial_smoothing_in_pytorch_is_differentiable():
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(from_art("SpatialSmoothingPyTorch")(x).sum(), x)
    assert float(gradient.sum()) > 0


def test_cutout_in_pytorch_has_the_exact_gradient():
    x = X.clone().requires_grad_()
    torch.manual_seed(0)
    found = from_art("CutoutPyTorch", length=3)(x)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, (found != 0).float())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("art:JpegCompresion", "JpegCompression"),
        ("art:JpegCompression(qualty=3)", "quality"),
        ("art:JpegCompression(channels_first=False)", "unknown"),
        ("art:JpegCompression(quality=0)", "expected parameters that ART accepts"),
        ("art:Cutout", "expected the parameter 'length'"),
        ("art:Mixup(num_classes=3)", "for training"),
    ],
)
def test_invalid_names_and_options_are_rejected(text, message):
    with pytest.raises(PurebenchError, match=message):
        create("defenses", Spec.parse(text))


def test_defence_is_created_by_name():
    assert torch.equal(
        create("defenses", Spec.parse("art:JpegCompression(quality=20)"))(X), from_art("JpegCompression", quality=20)(X)
    )
