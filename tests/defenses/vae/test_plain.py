"""Tests the plain VAE as an autoencoder and as a purifier."""

from __future__ import annotations

import pytest
import torch

from purebench.core.seeds import seeded
from purebench.defenses.vae.plain import VAE, VAEPurifier


@pytest.fixture
def model() -> VAE:
    with seeded("vae"):
        model = VAE(width=4, z=5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
    return model.eval().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def answer(purifier, images, words="vae"):
    with seeded(words):
        return purifier(images)


def test_results_have_the_expected_shapes_and_ranges(model, x):
    mean, logvar = model.encode(x)
    image = model.decode(mean)
    assert mean.shape == logvar.shape == (4, 5)
    assert image.shape == x.shape
    assert image.min() >= 0
    assert image.max() <= 1
    assert model.encode(1e6 * x)[1].abs().max() <= 10


def test_mean_is_deterministic_and_samples_depend_on_the_seed(model, x):
    mean, sampled = VAEPurifier(model), VAEPurifier(model, sampled=True)
    assert (mean.random, sampled.random) == (False, True)
    assert torch.equal(answer(mean, x, "a"), answer(mean, x, "b"))
    assert torch.equal(answer(mean, x), model.decode(model.encode(x)[0]))
    assert torch.equal(answer(sampled, x, "a"), answer(sampled, x, "a"))
    assert not torch.allclose(answer(sampled, x, "a"), answer(sampled, x, "b"), atol=1e-3)


def test_samples_have_the_posteriors_mean_and_deviation(model, x):
    many = x[:1].expand(4000, -1, -1, -1)
    mean, logvar = model.encode(x[:1])
    codes = []
    model.decode = lambda code: codes.append(code) or code
    answer(VAEPurifier(model, sampled=True), many)
    deviation = (logvar / 2).exp()[0]
    assert torch.allclose(codes[0].mean(0), mean[0], atol=float(deviation.max()) * 4 / 4000**0.5)
    assert torch.allclose(codes[0].std(0), deviation, rtol=0.05)


def test_batches_agree_with_single_images(model, x):
    purifier = VAEPurifier(model)
    assert torch.allclose(purifier(x), torch.cat([purifier(image[None]) for image in x]), atol=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_images_of_a_batch_do_not_influence_each_other(model, x, sampled, assert_images_are_independent):
    assert_images_are_independent(VAEPurifier(model, sampled=sampled), x)


@pytest.mark.parametrize("sampled", [False, True])
def test_gradient_matches_finite_differences(model, x, sampled, gradient_error):
    purifier = VAEPurifier(model.double(), sampled=sampled)
    gradient, error = gradient_error(purifier, x[:2].double(), "gradient")
    assert gradient.abs().max() > 1e-5
    assert error <= 1e-5
