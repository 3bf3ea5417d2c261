"""Tests blur against torchvision, noise against its statistics, and quantisation against arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import gaussian_blur as theirs

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.transforms import simple
from purebench.defenses.transforms.simple import gaussian_blur


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 3, 20, 28)])
def test_blur_agrees_with_torchvision(sigma, shape):
    x = images(*shape)
    size = 2 * max(1, math.ceil(4 * sigma)) + 1
    assert torch.allclose(gaussian_blur(x, sigma), theirs(x, [size, size], [sigma, sigma]), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 5.0, 40.0])
def test_blur_keeps_constants_and_the_range(sigma):
    levels = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1)
    assert torch.allclose(gaussian_blur(levels.expand(3, 2, 9, 12), sigma), levels.expand(3, 2, 9, 12), atol=1e-6)
    blurred = gaussian_blur(images(2, 1, 9, 12), sigma)
    assert blurred.min() >= 0
    assert blurred.max() <= 1


def test_blur_of_a_point_is_the_gaussian_density():
    x = torch.zeros(1, 1, 33, 33)
    x[..., 16, 16] = 1
    grid = torch.arange(-16.0, 17)
    density = torch.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2)) / (2 * math.pi * 1.5**2)
    assert torch.allclose(gaussian_blur(x, 1.5)[0, 0], density, atol=1e-4)


def test_blur_uses_the_largest_kernel_that_fits_a_small_image():
    x = images(1, 1, 6, 9)
    assert torch.allclose(gaussian_blur(x, 3.0), theirs(x, [11, 11], [3.0, 3.0]), atol=1e-5)


def test_noise_has_the_given_deviation_and_is_clamped():
    grey = torch.full((200, 1, 32, 32), 0.5)
    with seeded("noise"):
        noisy = simple.gaussian_noise(sigma=0.05)(grey) - grey
    # 204,800 pixels: three standard errors of mean and deviation are 0.0003 and 0.0002
    assert float(noisy.mean()) == pytest.approx(0, abs=3.4e-4)
    assert float(noisy.std()) == pytest.approx(0.05, abs=2.4e-4)
    strong = simple.gaussian_noise(sigma=1.0)(grey)
    assert (strong.min(), strong.max()) == (0, 1)


def test_seed_determines_the_noise():
    x, purify = images(2, 1, 8, 8), simple.gaussian_noise()
    answers = []
    for words in ("a", "a", "b"):
        with seeded(words):
            answers.append(purify(x))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


@given(levels=st.integers(2, 256), value=st.floats(0, 1, width=32))
@settings(max_examples=200, deadline=None)
def test_quantise_returns_the_nearest_level(levels, value):
    got = float(simple.quantise(levels=levels)(torch.tensor([value])))
    nearest = min(abs(value - k / (levels - 1)) for k in range(levels))
    assert abs(got - value) == pytest.approx(nearest, abs=1e-6)
    assert got * (levels - 1) == pytest.approx(round(got * (levels - 1)), abs=1e-4)


def test_quantise_is_idempotent_keeps_black_and_white_and_has_zero_gradient():
    purify = simple.quantise(levels=8)
    x = images(2, 1, 16, 16).requires_grad_()
    once = purify(x)
    assert torch.equal(purify(once), once)
    assert once.unique().numel() == 8
    assert torch.equal(purify(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]))
    (gradient,) = torch.autograd.grad(once.sum(), x)
    assert gradient.abs().max() == 0
    assert torch.equal(purify.surrogate(x), x)


@pytest.mark.parametrize("make", [simple.gaussian_noise, simple.blur])
def test_images_of_a_batch_do_not_influence_each_other(make, assert_images_are_independent):
    assert_images_are_independent(make(), images(4, 1, 12, 12))


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (simple.gaussian_noise, [{"sigma": 0}, {"sigma": -0.1}, {"sigma": math.nan}, {"sigma": math.inf}]),
        (simple.blur, [{"sigma": 0}, {"sigma": -1}, {"sigma": math.nan}, {"sigma": math.inf}]),
        (simple.quantise, [{"levels": 1}, {"levels": 0}, {"levels": 7.5}, {"levels": "many"}]),
    ],
)
def test_invalid_values_are_rejected(make, values):
    for options in values:
        with pytest.raises(
            PurebenchError, match=r"^[a-z-]+: (sigma|levels): expected a (whole )?number .*, but got .+\.$"
        ):
            make(**options)


def test_none_has_no_purifier():
    classifier = torch.nn.Identity()
    made = simple.none(classifier=classifier)
    assert made.purifier is None
    assert made.classifier is classifier
    assert not made.random
