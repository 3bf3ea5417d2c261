"""Tests the hierarchical VAE: order of latents, dependence of priors, divergences and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.hvae import HVAE, Normal, bounded_exp

LATENTS, SIDES = 5, [2, 4, 4, 8, 8]


@pytest.fixture
def model() -> HVAE:
    with seeded("hvae"):
        model = HVAE(size=16, widths=(10, 8, 6), groups=(1, 2, 2), z=3)
        with torch.no_grad():  # with initial zeros, many assertions would hold trivially
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def encoded(i, code, sample):
    return code


def sampled(i, code, sample):
    return sample


def distributions_of(model: HVAE, x: torch.Tensor, latents: list[torch.Tensor]):
    """Return the posteriors and priors when the latents are set to `latents`."""
    posteriors, priors = [], []

    def choose(i, posterior, prior):
        posteriors.append(posterior)
        priors.append(prior)
        return latents[i]

    model.decode(model.features(x), choose)
    return posteriors, priors


def some_latents(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, side, side, generator=generator) for side in SIDES]


def same(one: Normal, other: Normal) -> bool:
    return torch.allclose(one.mean, other.mean, atol=1e-6) and torch.allclose(one.std, other.std, atol=1e-6)


def test_mix_is_called_once_per_latent_from_coarse_to_fine(model, x):
    calls = []

    def mix(i, code, sample):
        calls.append((i, tuple(code.shape), tuple(sample.shape)))
        return code

    image = model.autoencode(x, mix)
    assert model.latents == LATENTS
    assert calls == [(i, (4, 3, side, side), (4, 3, side, side)) for i, side in enumerate(SIDES)]
    assert image.shape == x.shape
    assert image.min() >= 0
    assert image.max() <= 1


def test_latents_returned_by_mix_are_decoded(model, x):
    latents = some_latents(1)
    given_latents = model.autoencode(x, lambda i, code, sample: latents[i])
    assert torch.equal(given_latents, model.autoencode(1 - x, lambda i, code, sample: latents[i]))
    for changed in range(LATENTS):
        others = [latent + (i == changed) for i, latent in enumerate(latents)]
        moved = model.autoencode(x, lambda i, code, sample, others=others: others[i])
        assert (moved - given_latents).abs().max() > 1e-4, f"latent {changed} is not used"


def test_reconstruction_is_deterministic(model, x):
    with seeded("a"):
        first = model.autoencode(x, encoded)
    with seeded("b"):
        second = model.autoencode(x, encoded)
    posterior_means = model.decode(model.features(x), lambda i, posterior, prior: posterior.mean)
    assert torch.equal(first, second)
    assert torch.equal(first, posterior_means)


def test_sampling_every_latent_ignores_the_image(model, x):
    asked = x.clone().requires_grad_()
    with seeded("a"):
        first = model.autoencode(asked, sampled)
    with seeded("a"):
        other_images = model.autoencode(1 - x, sampled)
    with seeded("b"):
        other_seed = model.autoencode(x, sampled)
    assert not first.requires_grad
    assert torch.equal(first, other_images)
    assert not torch.allclose(first, other_seed, atol=1e-3)


def test_batches_agree_with_single_images(model, x):
    alone = torch.cat([model.autoencode(image[None], encoded) for image in x])
    assert torch.allclose(model.autoencode(x, encoded), alone, atol=1e-5)


def test_priors_depend_only_on_the_preceding_latents(model, x):
    latents = some_latents(2)
    posteriors, priors = distributions_of(model, x, latents)
    _, of_other_images = distributions_of(model, 1 - x, latents)
    assert all(same(one, other) for one, other in zip(priors, of_other_images, strict=True))
    for changed in range(LATENTS):
        moved = [latent + 0.5 * (i == changed) for i, latent in enumerate(latents)]
        moved_posteriors, moved_priors = distributions_of(model, x, moved)
        for i in range(LATENTS):
            below = i > changed
            assert same(priors[i], moved_priors[i]) is not below, f"z_{changed} and the prior of z_{i}"
            assert same(posteriors[i], moved_posteriors[i]) is not below


def test_every_posterior_depends_on_the_image(model, x):
    latents = some_latents(3)
    before, after = (distributions_of(model, images, latents)[0] for images in (x, 1 - x))
    assert not any(same(one, other) for one, other in zip(before, after, strict=True))


def test_divergence_agrees_with_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    shape = (5, 3, 4, 4)
    first, second = (
        Normal(torch.randn(shape, generator=generator), 0.1 + torch.rand(shape, generator=generator)) for _ in range(2)
    )
    theirs = distributions.kl_divergence(
        distributions.Normal(first.mean, first.std), distributions.Normal(second.mean, second.std)
    )
    assert first.divergence(second).shape == (5,)
    assert torch.allclose(first.divergence(second), theirs.flatten(1).sum(1), rtol=1e-5)
    assert torch.equal(first.divergence(first), torch.zeros(5))


def test_evidence_agrees_with_torch_distributions(model, x):
    with seeded("evidence"):
        image, error, divergences = model.evidence(x)
    chosen, theirs = [], []

    def choose(i, posterior, prior):
        theirs.append(
            distributions.kl_divergence(
                distributions.Normal(posterior.mean, posterior.std), distributions.Normal(prior.mean, prior.std)
            )
        )
        chosen.append(posterior.mean + posterior.std * torch.randn_like(posterior.mean))
        return chosen[-1]

    with seeded("evidence"):
        expected = model.decode(model.features(x), choose)
    assert torch.allclose(image, expected, atol=1e-6)
    assert torch.allclose(error, (expected - x).square().mean())
    for ours, reference in zip(divergences, theirs, strict=True):
        assert torch.allclose(ours, reference.flatten(1).sum(1), rtol=1e-4)


def test_temperature_scales_the_deviation_of_samples():
    normal = Normal(torch.full((100_000,), 2.0), torch.full((100_000,), 0.5))
    with seeded("temperature"):
        sample = normal.sample(0.6)
    assert float(sample.mean()) == pytest.approx(2, abs=0.004)
    assert float(sample.std()) == pytest.approx(0.3, abs=0.003)
    assert torch.equal(normal.sample(0.0), normal.mean)


def test_temperature_of_the_model_applies_to_its_samples(model, x):
    def means_and_samples(temperature):
        found = []
        model.temperature = temperature
        model.decode(model.features(x), lambda i, posterior, prior: found.append(prior.mean) or posterior.mean)
        samples = []
        model.autoencode(x, lambda i, code, sample: samples.append(sample) or code)
        return found, samples

    means, samples = means_and_samples(0.0)
    assert all(torch.allclose(mean, sample) for mean, sample in zip(means, samples, strict=True))
    means, samples = means_and_samples(1.0)
    assert not any(torch.allclose(mean, sample) for mean, sample in zip(means, samples, strict=True))


def test_bounded_exp_equals_exp_near_zero_and_stays_within_its_bounds():
    small = torch.linspace(-0.1, 0.1, 21)
    assert torch.allclose(bounded_exp(small), small.exp(), rtol=1e-4)
    far = bounded_exp(torch.tensor([-1e4, 1e4]))
    assert far.log().tolist() == pytest.approx([-5, 5])


@pytest.mark.parametrize("mix", [encoded, lambda i, code, sample: 0.3 * code + 0.7 * sample])
def test_gradient_matches_finite_differences(model, x, mix, gradient_error):
    model = model.double()
    gradient, error = gradient_error(lambda images: model.autoencode(images, mix), x[:2].double(), "gradient")
    assert gradient.abs().max() > 1e-4
    assert error <= 1e-5
