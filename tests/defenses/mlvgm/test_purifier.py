"""Tests the MLVGM purifier, from alpha 0 (the autoencoder) to alpha 1 (samples that ignore the image)."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.hvae import HVAE
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.purifier import MLVGMPurifier, fixed_norm_noise
from purebench.defenses.transforms.simple import gaussian_blur


class Recorder(MLVGM):
    """Returns the image unchanged and records the results of `mix` for a code of ones and a sample of zeros."""

    latents = 4

    def autoencode(self, x, mix):
        ones = torch.ones(len(x), 1)
        self.mixed = [float(mix(i, ones, 0 * ones)[0]) for i in range(self.latents)]
        return x


@pytest.fixture
def model() -> HVAE:
    with seeded("hvae"):
        model = HVAE(size=16, widths=(10, 8, 6), groups=(1, 2, 1), z=3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def answer(purifier, images, words="purifier"):
    with seeded(words):
        return purifier(images)


def test_decoding_the_codes_gives_the_reconstruction(model, x):
    """They depend on the preceding latents, so codes computed after other latents would differ."""
    purifier = MLVGMPurifier(model, attenuation=0.7)
    codes = purifier.codes(x)
    assert len(codes) == model.latents == len(purifier.kept)
    assert [code.shape[-1] for code in codes] == [2, 4, 4, 8]
    decoded = model.autoencode(1 - x, lambda i, encoded, sampled: codes[i])
    assert torch.equal(decoded, model.autoencode(x, lambda i, encoded, sampled: encoded))


def test_codes_are_deterministic_and_do_not_depend_on_the_schedule(model, x):
    plain = answer(MLVGMPurifier(model, attenuation=0).codes, x, "a")
    for options in ({}, {"schedule": "constant", "attenuation": 1.0}, {"noise": 3.0}):
        again = answer(MLVGMPurifier(model, **options).codes, x, "b")
        assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_codes_are_those_of_the_blurred_image(model, x):
    blurred = MLVGMPurifier(model, blur=1.3).codes(x)
    plain = MLVGMPurifier(model).codes(gaussian_blur(x, 1.3))
    assert all(torch.equal(one, other) for one, other in zip(blurred, plain, strict=True))
    assert not torch.equal(blurred[0], MLVGMPurifier(model).codes(x)[0])


def test_gradient_of_the_codes_matches_finite_differences(model, x, gradient_error):
    purifier = MLVGMPurifier(model.double(), blur=0.8)
    for level in range(model.latents):
        size = purifier.codes(x[:1].double())[level].numel()

        def code(images, level=level, size=size):
            flat = purifier.codes(images)[level].flatten(1)
            return functional.pad(flat, (0, images[0].numel() - size)).view_as(images)

        gradient, error = gradient_error(code, 0.3 + 0.4 * x[:2].double(), "codes")
        assert gradient.abs().max() > 1e-5
        assert error <= 1e-5


def test_kept_share_is_one_minus_alpha():
    assert MLVGMPurifier(Recorder(), schedule=[0.0, 0.2, 0.5, 1.0], attenuation=0.5).kept == pytest.approx(
        [1, 0.9, 0.75, 0.5]
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_alpha_zero_is_the_autoencoder(model, x, schedule):
    purifier = MLVGMPurifier(model, schedule=schedule, attenuation=0)
    reconstruction = model.autoencode(x, lambda i, encoded, sampled: encoded)
    assert torch.equal(answer(purifier, x, "a"), reconstruction)
    assert torch.equal(answer(purifier, x, "b"), reconstruction)
    assert purifier.random is False


def test_batches_agree_with_single_images_at_alpha_zero(model, x):
    purifier = MLVGMPurifier(model, attenuation=0)
    alone = torch.cat([purifier(image[None]) for image in x])
    assert torch.allclose(purifier(x), alone, atol=1e-5)


def test_alpha_one_ignores_the_image(model, x):
    purifier = MLVGMPurifier(model, schedule="constant", attenuation=1)
    asked = x.clone().requires_grad_()
    purified = answer(purifier, asked)
    (gradient,) = torch.autograd.grad(purified.square().sum(), asked)
    assert gradient.abs().max() == 0
    assert torch.equal(purified, answer(purifier, 1 - x))
    assert torch.equal(purified, answer(purifier, x[[1, 0, 3, 2]]))
    assert torch.equal(purified, answer(model_samples(model), x))
    assert not torch.allclose(purified, answer(purifier, x, "another"), atol=1e-3)


def model_samples(model):
    return lambda images: model.autoencode(images, lambda i, encoded, sampled: sampled)


def test_result_depends_on_the_image_if_one_latent_is_kept(model, x):
    for kept in range(model.latents):
        purifier = MLVGMPurifier(model, schedule=[float(i != kept) for i in range(model.latents)], attenuation=1)
        assert (answer(purifier, x) - answer(purifier, 1 - x)).abs().max() > 1e-4, f"latent {kept}"


def test_each_latent_is_mixed_with_its_own_alpha(x):
    recorder = Recorder()
    purifier = MLVGMPurifier(recorder, schedule=[0.0, 0.2, 0.5, 1.0], attenuation=0.5)
    purifier(x)
    assert recorder.mixed == pytest.approx([1, 0.9, 0.75, 0.5])
    assert purifier.mix(2, torch.tensor(3.0), torch.tensor(7.0)) == pytest.approx(0.75 * 3 + 0.25 * 7)


def test_seed_determines_the_result(model, x):
    purifier = MLVGMPurifier(model)
    assert purifier.random is True
    assert torch.equal(answer(purifier, x, "a"), answer(purifier, x, "a"))
    assert not torch.allclose(answer(purifier, x, "a"), answer(purifier, x, "b"), atol=1e-3)


def test_each_image_of_a_batch_gets_its_own_noise(model, x):
    purified = answer(MLVGMPurifier(model), x[:1].expand(4, -1, -1, -1))
    assert all((purified[0] - other).abs().max() > 1e-3 for other in purified[1:])


@pytest.mark.parametrize("options", [{}, {"attenuation": 0}, {"blur": 1.0, "noise": 0.5}])
def test_images_of_a_batch_do_not_influence_each_other(model, x, options, assert_images_are_independent):
    assert_images_are_independent(MLVGMPurifier(model, **options), x)


@pytest.mark.parametrize("norm", [0.01, 1.0, 2.0, 50.0])
@pytest.mark.parametrize("shape", [(6, 1, 16, 16), (3, 3, 8, 8), (2, 5)])
def test_fixed_norm_noise_has_that_norm_in_each_image(norm, shape):
    with seeded("norm"):
        noise = fixed_norm_noise(torch.zeros(shape), norm)
    assert noise.flatten(1).norm(dim=1).tolist() == pytest.approx([norm] * shape[0], rel=1e-5)
    assert not torch.allclose(noise[0], noise[1], rtol=0.1)
    # the direction is uniform: over many images all pixels have the same mean and variance
    with seeded("many"):
        many = fixed_norm_noise(torch.zeros(20_000, 1, 2, 2), 1.0)
    assert many.mean(0).abs().max() < 0.015  # four standard errors of 1/2 / sqrt(20,000)
    assert many.square().mean(0).flatten().tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_noise_is_added_before_encoding_and_clamped():
    grey = torch.full((5, 1, 16, 16), 0.5)
    purifier = MLVGMPurifier(Recorder(), attenuation=0, noise=1.5)
    assert purifier.random is True
    added = answer(purifier, grey) - grey
    assert added.flatten(1).norm(dim=1).tolist() == pytest.approx([1.5] * 5, rel=1e-5)
    strong = answer(MLVGMPurifier(Recorder(), attenuation=0, noise=200.0), grey)
    assert (strong.min(), strong.max()) == (0, 1)


def test_blur_is_applied_before_noise_and_encoding(model, x):
    blurred = answer(MLVGMPurifier(model, attenuation=0, blur=1.3), x)
    assert torch.equal(blurred, answer(MLVGMPurifier(model, attenuation=0), gaussian_blur(x, 1.3)))
    calm = 0.4 + 0.2 * x
    both = answer(MLVGMPurifier(Recorder(), attenuation=0, blur=1.3, noise=0.7), calm)
    added = both - gaussian_blur(calm, 1.3)
    assert added.flatten(1).norm(dim=1).tolist() == pytest.approx([0.7] * 4, rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"schedule": "linear", "attenuation": 1.0}, {"blur": 1.0, "noise": 0.3}])
def test_gradient_matches_finite_differences(model, x, options, gradient_error):
    purifier = MLVGMPurifier(model.double(), **options)
    gradient, error = gradient_error(purifier, 0.3 + 0.4 * x[:2].double(), "gradient")
    assert gradient.abs().max() > 1e-5
    assert error <= 1e-5


@pytest.mark.parametrize(
    "options",
    [
        *({name: value} for name in ("blur", "noise") for value in (-0.1, math.nan, math.inf)),
        *({"attenuation": value} for value in (-0.1, 1.1, math.nan)),
        *({"schedule": value} for value in ("quadratic", [0.1], [2.0] * 4)),
    ],
)
def test_invalid_values_are_rejected(model, options):
    with pytest.raises(PurebenchError, match=r"^(mlvgm|schedule): "):
        MLVGMPurifier(model, **options)


class Bright(MLVGM):
    """Returns twice the image, which leaves [0,1] where it is above 0.5."""

    latents = 2

    def autoencode(self, x, mix):
        return 2 * x


def test_without_clamp_images_and_gradients_are_the_models_own():
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for purifier, expected, slope in (
        (MLVGMPurifier(Bright(), schedule=[0, 0], clamp=False), 2 * x, torch.full_like(x, 2)),
        (MLVGMPurifier(Bright(), schedule=[0, 0]), (2 * x).clamp(0, 1), 2.0 * (x < 0.5)),
    ):
        for again in (purifier, purifier.with_alphas([0, 0])):
            seen = again(x)
            assert torch.equal(seen, expected)
            assert torch.equal(again.autoencode(x, again.mix), expected)
            assert torch.equal(torch.autograd.grad(seen.sum(), x)[0], slope)
