"""Tests of the posteriors of purifiers with Gaussian encoders."""

import pytest
import torch

from purebench.core.errors import Inapplicable
from purebench.core.seeds import seeded
from purebench.data.datasets import fashion_mnist
from purebench.defenses.mlvgm.bundled import hvae, nvae, stylegan
from purebench.defenses.vae.plain import vae


@pytest.fixture
def images():
    return torch.as_tensor(fashion_mnist().take(range(2)).floats())


@pytest.mark.parametrize("make", [hvae, nvae])
@pytest.mark.parametrize("blur", [0.0, 1.0])
@torch.no_grad()
def test_the_means_are_the_codes_and_need_no_draws(make, blur, images):
    purifier = make(blur=blur).eval()
    with seeded("one"):
        found = purifier.posteriors(images)
        again = torch.randn(1)
    with seeded("one"):
        assert torch.equal(torch.randn(1), again)  # nothing was drawn
        codes = purifier.codes(images)
    assert len(found) == len(purifier.kept)
    for (mean, variance), code in zip(found, codes, strict=True):
        torch.testing.assert_close(mean, code)
        assert variance.shape == mean.shape
        assert (variance > 0).all()
    mixed = purifier.with_alphas([0.5] * len(codes))
    assert all(torch.equal(here[1], there[1]) for here, there in zip(mixed.posteriors(images), found, strict=True))


@torch.no_grad()
def test_the_variances_of_the_hvae_are_those_of_the_posteriors_that_it_samples(images):
    """A sample of the first latent has this mean and variance, by 4000 draws."""
    model = hvae().eval().model
    mean, variance = hvae().eval().posteriors(images[:1])[0]
    draws = []

    class Enough(Exception):
        pass

    def first(i, posterior, prior):
        draws.append(torch.stack([posterior.sample() for _ in range(4000)]))
        raise Enough

    with pytest.raises(Enough), seeded("draws"):
        model.decode(model.features(images[:1]), first)
    error = (draws[0].var(0) / variance - 1).abs()
    assert error.max() < 6 * (2 / 4000) ** 0.5
    assert ((draws[0].mean(0) - mean) / (variance / 4000).sqrt()).abs().max() < 6


@torch.no_grad()
def test_a_plain_vae_keeps_its_only_latent(images):
    purifier = vae(sampled=True).eval()
    ((mean, variance),) = purifier.posteriors(images)
    expected, logvar = purifier.model.encode(images)
    assert torch.equal(mean, expected)
    torch.testing.assert_close(variance.log(), logvar)
    assert purifier.kept == [1.0]


def test_the_encoder_of_a_stylegan_has_no_posteriors(images):
    with pytest.raises(Inapplicable, match="codes without variances"):
        stylegan().eval().posteriors(images)
