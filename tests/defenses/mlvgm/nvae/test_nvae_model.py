"""Tests the NVAE model: order of latents, randomness, gradients, independence of images and evidence."""

from __future__ import annotations

import plain_nvae as plain
import pytest
import torch
from torch import distributions

from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses import checkpoints
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.mlvgm.purifier import MLVGMPurifier


def random_nvae(name: str, channels: int = 3) -> NVAE:
    model = NVAE(plain.configuration(name, channels))
    model.load_state_dict(plain.random_state(name, channels))
    return model.eval().requires_grad_(False)


@pytest.fixture
def model() -> NVAE:
    return random_nvae("plain")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def encoded(i, code, sample):
    return code


def half(i, code, sample):
    return 0.5 * code


def test_mix_is_called_once_per_latent_from_coarse_to_fine(x):
    calls = []
    model = random_nvae("adaptive")
    model.autoencode(x, lambda i, code, sample: calls.append((i, tuple(code.shape), tuple(sample.shape))) or code)
    sides = [4, 8, 8, 8]
    assert model.latents == len(sides)
    assert calls == [(i, (4, 3, side, side), (4, 3, side, side)) for i, side in enumerate(sides)]


def test_alpha_zero_is_the_deterministic_autoencoder(model, x):
    purifier = MLVGMPurifier(model, schedule="cosine", attenuation=0.0)
    with seeded("a"):
        first = purifier(x)
    with seeded("b"):
        second = model.autoencode(x, encoded)
    assert torch.equal(first, second)
    assert not torch.equal(first, model.autoencode(x, half))


def test_alpha_one_ignores_the_image(model, x):
    purifier = MLVGMPurifier(model, schedule="constant", attenuation=1.0)
    asked = x.clone().requires_grad_()
    with seeded("a"):
        first = purifier(asked)
    (gradient,) = torch.autograd.grad(first.square().sum(), asked)
    assert gradient.abs().max() == 0
    with seeded("a"):
        assert torch.equal(first, purifier(1 - x))


def test_seed_determines_the_samples(model, x):
    purifier = MLVGMPurifier(model, schedule="linear", attenuation=0.7)

    def purified(seed):
        with seeded(seed):
            return purifier(x)

    assert torch.equal(purified("a"), purified("a"))
    assert (purified("a") - purified("b")).abs().max() > 1e-2


def test_temperature_scales_the_deviation_of_the_samples(model, x):
    def samples(temperature):
        model.temperature = temperature
        found = []
        with seeded("t"):
            model.autoencode(x, lambda i, code, sample: found.append(sample) or code)
        return found

    means, cool, warm = samples(0.0), samples(0.6), samples(1.2)
    for mean, low, high in zip(means, cool, warm, strict=True):
        assert torch.allclose(high - mean, 2 * (low - mean), atol=1e-5)
        assert (low - mean).abs().max() > 1e-2


def test_images_of_a_batch_do_not_influence_each_other(model, x, assert_images_are_independent):
    assert_images_are_independent(MLVGMPurifier(model, schedule="linear", attenuation=0.7), x)
    swapped = model.autoencode(x[[1, 0, 2, 3]], half)
    assert torch.allclose(swapped, model.autoencode(x, half)[[1, 0, 2, 3]], atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "adaptive"])
def test_batches_agree_with_single_images(name, x):
    model = random_nvae(name)
    for mix in (encoded, half):
        alone = torch.cat([model.autoencode(image[None], mix) for image in x])
        assert torch.allclose(model.autoencode(x, mix), alone, atol=1e-5)


def test_changing_a_latent_changes_only_the_priors_and_posteriors_of_later_latents(model, x):
    def seen(changed):
        found = []

        def mix(i, code, sample):
            found.append((code, sample))
            return code + 0.5 * (i == changed)

        with seeded("same"):
            model.autoencode(x, mix)
        return found

    before = seen(None)
    for changed in range(model.latents):
        for i, (old, new) in enumerate(zip(before, seen(changed), strict=True)):
            for one, other in zip(old, new, strict=True):
                assert ((one - other).abs().max() > 1e-4) == (i > changed)


@pytest.mark.parametrize("mix", [encoded, lambda i, code, sample: 0.3 * code + 0.7 * sample])
def test_gradient_matches_finite_differences(model, x, mix, gradient_error):
    model = model.double()
    gradient, error = gradient_error(lambda images: model.autoencode(images, mix), x[:2].double(), "gradient")
    assert gradient.abs().max() > 1e-4
    assert error <= 1e-5


@pytest.mark.parametrize(("name", "channels"), [("plain", 1), ("adaptive", 3)])
def test_evidence_agrees_with_torch_distributions(name, channels):
    model = random_nvae(name, channels)
    x = torch.randint(0, 256, (2, channels, 16, 16), generator=torch.Generator().manual_seed(3)) / 255
    with seeded("evidence"):
        likelihood, divergences = model.evidence(x)
    expected = []

    def choose(i, posterior, prior):
        q, p = (distributions.Normal(d.mean, d.std) for d in (posterior, prior))
        z = posterior.mean + posterior.std * torch.randn_like(posterior.mean)
        gap = q.log_prob(z) - p.log_prob(model.flow(i, z)) if name == "adaptive" else distributions.kl_divergence(q, p)
        expected.append(gap.flatten(1).sum(1))
        return z

    with seeded("evidence"):
        mixture = model.decode(model.features(x), choose)
    assert torch.allclose(likelihood, mixture.log_likelihood(x), rtol=1e-5)
    assert len(divergences) == model.latents
    for found, reference in zip(divergences, expected, strict=True):
        assert torch.allclose(found, reference, rtol=1e-3, atol=1e-3)


def test_half_precision_files_keep_batch_statistics_and_weight_norm(tmp_path, x):
    model = random_nvae("adaptive")
    path = tmp_path / "nvae.safetensors"
    checkpoints.save(path, model, "nvae", model.architecture)
    loaded = checkpoints.load(str(path), "nvae", NVAE)
    assert loaded.architecture == model.architecture
    originals = model.state_dict()
    for name, value in loaded.state_dict().items():
        original = originals[name]
        assert torch.equal(value, original.half().float() if original.is_floating_point() else original)
    assert torch.allclose(loaded.autoencode(x, encoded), model.autoencode(x, encoded), atol=0.02)


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf"), "warm", True])
def test_invalid_temperatures_are_rejected(temperature):
    with pytest.raises(PurebenchError, match=r"nvae: temperature: expected a number in \[0,"):
        NVAE(plain.configuration("plain"), temperature)
    with pytest.raises(PurebenchError, match=r"nvae: temperature: expected a number in \[0,"):
        create("defenses", Spec("mlvgm-nvae", {"temperature": temperature}))
