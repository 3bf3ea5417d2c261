"""Tests gradual noise, GDMP and likelihood maximisation against their formulas and against DiffPure."""

from __future__ import annotations

import torch
from smooth_network import answer
from torch import nn

from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood import LikelihoodMaximisation
from purebench.defenses.diffusion.sampling import diffuse, ladder, noise_levels, reverse_step


class Gaussian(nn.Module):
    """Optimal noise predictor for images whose values are independent and normal, in units of [-1,1]."""

    def __init__(self, mean: float, deviation: float):
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, x, t):
        level = noise_levels().to(x)[t.long()].view(-1, 1, 1, 1)
        variance = level * self.deviation**2 + 1 - level
        return (1 - level).sqrt() * (x - level.sqrt() * self.mean) / variance


def test_gradual_noise_applies_diffpure_once_per_entry_of_its_schedule(network, x):
    one = GradualNoise(network, schedule=(90,), steps=4)
    assert torch.equal(answer(one, x), answer(DiffPure(network, t=90, steps=4), x))
    two = GradualNoise(network, schedule=(40, 90), steps=4)
    with seeded("purifiers"):
        twice = DiffPure(network, t=90, steps=4)(DiffPure(network, t=40, steps=4)(x))
    assert torch.allclose(answer(two, x), twice, atol=1e-6)


def test_guidance_is_the_variance_times_the_scaled_gradient_of_the_distance(network, x):
    """Compares a step of GDMP with autograd; s_t and DDPM's variance are recomputed here."""
    eps, scale, levels = 0.05, 0.3, noise_levels()
    purifier = GDMP(network, t=100, steps=4, eps=eps, scale=scale)
    now, then = purifier.times[:2]
    state, image = 2 * x.flip(0) - 1, 2 * x - 1
    there = diffuse(image, levels[now], seeded_noise(image, 2))
    leaf = state.clone().requires_grad_()
    (slope,) = torch.autograd.grad(-(leaf - there).square().sum(), leaf)
    a, b = float(levels[now]), float(levels[then])
    strength = scale * 3 * (1 - a) ** 0.5 / (2 * eps * a**0.5)
    variance = (1 - a / b) * (1 - b) / (1 - a)
    plain = reverse_step(state, network(state, now.expand(4)), levels[now], levels[then], seeded_noise(state, 1))
    both = purifier.step(torch.cat([state, image], 1), now, then, (1, 2))
    assert torch.allclose(both[:, :1], plain + variance * strength * slope, atol=1e-5)
    assert torch.equal(both[:, 1:], image)
    assert (variance * strength * slope).abs().max() > 0.05


def test_stronger_guidance_keeps_the_result_closer_to_the_input(network, x):
    far = [float((answer(GDMP(network, scale=scale), x) - x).square().mean()) for scale in (0.0, 0.3, 1.0)]
    assert far[0] > far[1] > far[2]


def test_gdmp_without_guidance_is_ddpm(network, x):
    unguided = GDMP(network, t=80, steps=3, rounds=1, scale=0.0)
    with seeded("purifiers"):
        seeds = torch.randint(2**62, (7,)).tolist()
    levels, times = torch.cat([noise_levels(), torch.ones(1)]), ladder(80, 3)
    state = diffuse(2 * x - 1, levels[times[0]], seeded_noise(x, seeds[0]))
    for now, then, seed in zip(times[:-1], times[1:], seeds[1::2], strict=True):
        predicted = network(state, now.expand(4))
        state = reverse_step(state, predicted, levels[now], levels[then], seeded_noise(x, seed))
    assert torch.allclose(answer(unguided, x), (state + 1) / 2, atol=1e-6)


def test_likelihood_bound_and_gradient_match_the_closed_form_of_a_gaussian(x):
    """For normal data the prediction error is linear in the image, so the gradient has a closed form."""
    mean, deviation = 0.2, 0.4
    purifier = LikelihoodMaximisation(Gaussian(mean, deviation), t=300, draws=1)
    times: list[int] = []
    predict = purifier.predict
    purifier.predict = lambda state, t: times.append(int(t)) or predict(state, t)
    asked = x.clone().requires_grad_()
    value = purifier.bound(asked, 5)
    (slope,) = torch.autograd.grad(value.sum(), asked)
    generator = torch.Generator().manual_seed(5)
    torch.rand(1, generator=generator)  # the position of the timestep within its stratum
    noise = seeded_noise(x, int(torch.randint(2**62, (1,), generator=generator)))
    level = float(noise_levels()[times[0]])
    variance = level * deviation**2 + 1 - level
    state = level**0.5 * (2 * x - 1) + (1 - level) ** 0.5 * noise
    error = (1 - level) ** 0.5 * (state - level**0.5 * mean) / variance - noise
    assert torch.allclose(value, -error.square().sum((1, 2, 3)), rtol=1e-4)
    expected = -2 * error * (1 - level) ** 0.5 * level**0.5 / variance * 2
    assert torch.allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_likelihood_maximisation_moves_towards_the_mean_within_the_ball(x):
    """Images brighter than the model's mean move towards it, but do not leave the ball."""
    network = Gaussian(mean=-0.4, deviation=0.1)
    near = answer(LikelihoodMaximisation(network, draws=8, steps=6, radius=0.5, rate=0.02), x)
    distance = [(images - 0.3).square().mean() for images in (x, near)]
    assert distance[1] < 0.6 * distance[0]
    for signed in (False, True):
        held = answer(LikelihoodMaximisation(network, steps=6, rate=0.05, radius=0.03, signed=signed), x)
        assert (held - x).abs().max() <= 0.03 + 1e-6
        assert (held - x).abs().max() > 0.0299


def test_signed_steps_have_the_identity_gradient(network, x):
    asked = x.clone().requires_grad_()
    purified = answer(LikelihoodMaximisation(network, signed=True), asked)
    assert torch.allclose(torch.autograd.grad(purified.sum(), asked)[0], torch.ones_like(x))
