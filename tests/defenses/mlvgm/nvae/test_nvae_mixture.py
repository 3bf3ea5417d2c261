"""Tests the mixture of discretised logistics against sums over all levels and its definition in float64."""

from __future__ import annotations

import pytest
import torch

from purebench.defenses.mlvgm.nvae.mixture import LogisticMixture, parameters_a_pixel

MIXTURES = 4
LEVELS = torch.arange(256, dtype=torch.float64) / 255


def raw(channels: int, count: int = 1, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    shape = (count, parameters_a_pixel(MIXTURES, channels), 1, 2)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def test_number_of_parameters_per_pixel_matches_the_files():
    assert parameters_a_pixel(10, 3) == 100
    assert parameters_a_pixel(10, 1) == 30


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_probabilities_of_all_grey_levels_sum_to_one(scale):
    one = raw(1, scale=scale)[..., :1]
    images = LEVELS.view(256, 1, 1, 1)
    found = LogisticMixture.split(one.expand(256, -1, -1, -1), MIXTURES, 1).log_likelihood(images)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-9)


def probability_by_definition(parameters: torch.Tensor, pixel: list[float]) -> float:
    """Return the probability of one RGB pixel: sigmoid differences, means shifted by the preceding channels."""
    logits, rest = parameters[:MIXTURES], parameters[MIXTURES:].view(MIXTURES, 9)
    r, g, b = (2 * value - 1 for value in pixel)
    total = 0.0
    for share, row in zip(logits.softmax(0), rest, strict=True):
        gr, br, bg = row[6:].tanh()
        means = [row[0], row[1] + gr * r, row[2] + br * r + bg * g]
        p = share
        for value, mean, log_scale in zip((r, g, b), means, row[3:6], strict=True):
            width = log_scale.clamp(min=-7).exp()
            upper = torch.sigmoid((value - mean + 1 / 255) / width) if value < 1 else 1.0
            lower = torch.sigmoid((value - mean - 1 / 255) / width) if value > -1 else 0.0
            p = p * (upper - lower)
        total = total + p
    return float(total)


def test_log_likelihood_of_colour_images_matches_the_definition():
    parameters = raw(3)
    pixels = [[0.0, 1.0, 100 / 255], [7 / 255, 254 / 255, 1 / 255]]
    x = torch.tensor(pixels, dtype=torch.float64).T.view(1, 3, 1, 2)
    found = LogisticMixture.split(parameters, MIXTURES, 3).log_likelihood(x)
    expected = 1.0
    for column, pixel in enumerate(pixels):
        expected *= probability_by_definition(parameters[0, :, 0, column], pixel)
    assert float(found.exp()) == pytest.approx(expected, rel=1e-9)


def test_unlikely_images_have_finite_likelihoods_and_gradients_in_float32():
    parameters = raw(1, scale=30.0).float().requires_grad_()
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    found = LogisticMixture.split(parameters, MIXTURES, 1).log_likelihood(x)
    (gradient,) = torch.autograd.grad(found.sum(), parameters)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


def test_mean_with_one_component_is_its_mean_clamped_to_the_range():
    parameters = torch.zeros(1, parameters_a_pixel(MIXTURES, 1), 1, 1)
    parameters[0, 2] = 50.0  # selects the third component
    parameters[0, MIXTURES + 2 * 2] = 0.5
    assert float(LogisticMixture.split(parameters, MIXTURES, 1).mean()) == pytest.approx(0.75)
    parameters[0, MIXTURES + 2 * 2] = -3.0
    assert float(LogisticMixture.split(parameters, MIXTURES, 1).mean()) == 0.0
