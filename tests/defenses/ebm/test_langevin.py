"""Tests Langevin purification on energies whose chains have a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.ebm.langevin import EBMLangevin, Energy

MIDDLE = 0.5


class Quadratic(nn.Module):
    """The energy f(x) = stiffness·|x - MIDDLE|²/2."""

    def __init__(self, stiffness=1.0):
        super().__init__()
        self.stiffness = stiffness

    def forward(self, x):
        return self.stiffness * (x - MIDDLE).square().flatten(1).sum(1) / 2


@pytest.fixture
def network():
    with seeded("energy"):
        energy = Energy(size=16, widths=(6, 8))
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.mul_(2)
    return energy.eval().requires_grad_(False)


def images(count=4):
    drawn = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 0.2 + 0.6 * drawn


@pytest.mark.parametrize(("stiffness", "rate"), [(1.0, 0.1), (2.0, 0.4)])
def test_stationary_distribution_of_a_quadratic_energy_is_the_known_gaussian(stiffness, rate):
    """x ← x - r·s·(x - m) + sqrt(2rT)·n has mean m and variance (T/s) / (1 - r·s/2), which tends to T/s with r."""
    temperature = 1e-3
    purifier = EBMLangevin(Quadratic(stiffness), steps=80, rate=rate, temperature=temperature)
    with seeded("stationary"):
        found = purifier(torch.full((40, 1, 32, 32), 0.6, dtype=torch.float64))
    variance = temperature / stiffness / (1 - rate * stiffness / 2)
    count = found.numel()
    assert float(found.mean()) == pytest.approx(MIDDLE, abs=5 * math.sqrt(variance / count))
    assert float(found.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / count))
    fourth = ((found - MIDDLE) ** 4).mean() / found.var() ** 2
    assert float(fourth) == pytest.approx(3, abs=5 * math.sqrt(96 / count))  # a Gaussian's kurtosis


def test_temperature_zero_is_gradient_descent():
    purifier = EBMLangevin(Quadratic(), steps=7, rate=0.2, temperature=0.0)
    x = images()
    assert not purifier.random
    assert torch.allclose(purifier(x), MIDDLE + 0.8**7 * (x - MIDDLE))


def test_seed_determines_the_result_at_positive_temperature():
    purifier, x = EBMLangevin(Quadratic(), temperature=1e-3), images()

    def answer(seed):
        with seeded(seed):
            return purifier(x)

    assert purifier.random
    assert torch.equal(answer("a"), answer("a"))
    assert not torch.allclose(answer("a"), answer("b"), atol=1e-3)


def test_result_stays_in_the_unit_range():
    steep = EBMLangevin(Quadratic(-1.0), steps=30, rate=0.3)
    found = steep(images())
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1e-4])
def test_gradient_matches_finite_differences_under_the_same_noise(network, temperature, checkpointed, gradient_error):
    purifier = EBMLangevin(network.double(), steps=8, rate=0.5, temperature=temperature, checkpointed=checkpointed)
    gradient, error = gradient_error(purifier, images(2), "gradient")
    assert gradient.abs().max() > 1e-2
    assert error <= 1e-6


def test_gradient_on_a_quadratic_energy_is_the_contraction_factor():
    x = images().requires_grad_()
    with seeded("contraction"):
        found = EBMLangevin(Quadratic(), steps=6, rate=0.3, temperature=1e-6)(x)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.allclose(gradient, torch.full_like(gradient, 0.7**6))


def test_images_of_a_batch_do_not_influence_each_other(network, assert_images_are_independent):
    assert_images_are_independent(EBMLangevin(network.double(), steps=4), images())


def test_energy_is_one_value_per_image_and_twice_differentiable(network):
    x = images(3).requires_grad_()
    energy = network.double()(x)
    assert energy.shape == (3,)
    (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), x)
    assert bend.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps from 1"),
        ({"steps": 2.5}, "steps from 1"),
        ({"rate": 0.0}, "rate above 0"),
        ({"rate": float("nan")}, "rate above 0"),
        ({"temperature": -1.0}, "temperature from 0"),
    ],
)
def test_values_out_of_range_are_rejected_with_the_expected_range(options, words):
    with pytest.raises(PurebenchError, match=words):
        EBMLangevin(Quadratic(), **options)
