"""Tests the VP-SDE against diffusers, DDPM, the closed form of a Gaussian and torchsde, and its adjoint."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.sampling import noise_levels, reverse_step
from purebench.defenses.diffusion.sde import DiffPureSDE, euler_maruyama

DOUBLE = torch.float64


class Smooth(nn.Module):
    """A small smooth noise predictor that depends on neighbouring pixels and on the timestep."""

    def __init__(self):
        super().__init__()
        with seeded("smooth"):
            self.first, self.last = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(x) + (t.to(x.dtype) / 500).sin().view(-1, 1, 1, 1)))


class Normal(nn.Module):
    """Optimal noise predictor for data of mean 0 and deviation `s`, in continuous time (beta from 0.1 to 20)."""

    def __init__(self, s: float):
        super().__init__()
        self.s = s

    def forward(self, x, t):
        time = (t + 1) / 1000
        level = torch.exp(-0.1 * time - 19.9 * time**2 / 2).view(-1, 1, 1, 1)
        return (1 - level).sqrt() * x / (level * self.s**2 + 1 - level)


def images(dtype=torch.float32):
    return 0.3 + 0.4 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def order(sizes, errors) -> float:
    """Return the order of convergence, the slope of log error over log size."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def test_step_agrees_with_diffusers_scheduler():
    deprecated = pytest.importorskip("diffusers.schedulers.deprecated.scheduling_sde_vp")
    scheduler = deprecated.ScoreSdeVpScheduler(num_train_timesteps=50, beta_min=0.1, beta_max=20, sampling_eps=1e-3)
    scheduler.set_timesteps(50)
    x, score = (torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for t in scheduler.timesteps[[0, 10, 40, 49]]:
        kept = math.exp(-0.1 * float(t) - 19.9 * float(t) ** 2 / 2)
        predicted = -score * math.sqrt(1 - kept)
        theirs, _ = scheduler.step_pred(predicted, x, t.expand(3), generator=torch.Generator().manual_seed(3))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        ours = euler_maruyama(x, score, (0.1 + 19.9 * float(t)) / 50, noise)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_steps_converge_to_ddpm_as_their_size_decreases():
    """The difference is of order 3/2 in the step size with the same noise, and of order 2 without noise."""
    purifier, t = DiffPureSDE(Smooth()), 0.12
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=DOUBLE) / 8  # nothing to clip
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    kept = math.exp(-purifier.clock(t))
    predicted = 0.3 * noise.flip(0)
    score = -predicted / math.sqrt(1 - kept)
    for given, expected in ((noise, 1.5), (torch.zeros_like(noise), 2.0)):
        sizes, errors = (0.008, 0.004, 0.002, 0.001), []
        for size in sizes:
            now, then = (torch.tensor(math.exp(-purifier.clock(at)), dtype=DOUBLE) for at in (t, t - size))
            ddpm = reverse_step(x, predicted, now, then, given)
            errors.append(float((ddpm - euler_maruyama(x, score, purifier.width(t, t - size), given)).abs().max()))
        assert order(sizes, errors) == pytest.approx(expected, abs=0.1)


def test_noise_levels_agree_with_ddpm():
    purifier = DiffPureSDE(Smooth())
    continuous = [math.exp(-purifier.clock((t + 1) / 1000)) for t in range(300)]
    assert noise_levels()[:300].numpy() == pytest.approx(continuous, rel=2e-3)


@pytest.mark.parametrize("s", [0.3, 0.6])
def test_result_without_noise_converges_to_the_posterior_mean_of_a_gaussian(s):
    """Solved backwards in time, dm = (m/2 - m/v) dtau gives m·sqrt(a)·s²/v, which is the posterior mean."""
    x, sizes, errors = images(DOUBLE), (20, 40, 80, 160), []
    for steps in sizes:
        purifier = DiffPureSDE(Normal(s).double(), t=0.2, steps=steps).double()
        purifier.noise = lambda state, then, seed: None
        with seeded("mean"):
            (seed,) = draw_seeds(1)
        a = math.exp(-purifier.clock(0.2))
        start = math.sqrt(a) * (2 * x - 1) + math.sqrt(1 - a) * seeded_noise(x, seed)
        expected = start * math.sqrt(a) * s**2 / (a * s**2 + 1 - a)
        with seeded("mean"):
            state = 2 * purifier(x) - 1
        inside = expected.abs() < 0.9
        errors.append(float((state - expected)[inside].abs().max()))
    assert order(sizes, errors) == pytest.approx(-1, abs=0.15)


def slopes(steps: int, gradient: str, dtype=DOUBLE):
    """Return the purified images and the gradient of a weighted sum of them."""
    purifier = DiffPureSDE(Smooth().requires_grad_(False).to(dtype), t=0.15, steps=steps, gradient=gradient).to(dtype)
    x = images(dtype).requires_grad_()
    with seeded("adjoint"):
        purified = purifier(x)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return purified.detach(), torch.autograd.grad((weights * purified).sum(), x)[0]


def test_adjoint_converges_to_the_exact_gradient_at_first_order():
    """The error of the gradient is proportional to the step size; the purified images are equal."""
    counts, errors = (10, 20, 40, 80), []
    for steps in counts:
        (shown, adjoint), (same, exact) = slopes(steps, "adjoint"), slopes(steps, "exact")
        assert torch.equal(shown, same)
        errors.append(float((adjoint - exact).norm() / exact.norm()))
    assert errors[0] > 1e-4, "no error to see"
    assert errors[-1] < 0.01
    assert order(counts, errors) == pytest.approx(-1, abs=0.3)


def test_path_agrees_with_torchsde_on_the_same_brownian_motion():
    import torchsde

    t, steps, network = 0.1, 20, Smooth().requires_grad_(False).double()
    purifier = DiffPureSDE(network, t=t, steps=steps).double()
    shape = (2, 1, 8, 8)

    class Reverse(nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, s, flat):
            return (0.1 + 19.9 * (t - s)) * purifier.drift(flat.view(shape), float(t - s)).flatten(1)

        def g(self, s, flat):
            return torch.full_like(flat, math.sqrt(0.1 + 19.9 * float(t - s)))

    start = torch.randn(2, 64, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    # without the last step, to which torchsde would add noise
    end = t * (steps - 1) / steps
    motion = torchsde.BrownianInterval(0.0, end, size=(2, 64), dtype=DOUBLE, entropy=3)
    times = torch.tensor([0.0, end], dtype=DOUBLE)
    theirs = torchsde.sdeint(Reverse(), start, times, bm=motion, method="euler", dt=t / steps)[-1]
    state = start.view(shape)
    for step in range(steps - 1):
        now, short = t * (steps - step) / steps, t / steps
        noise = motion(step * short, min((step + 1) * short, end)).view(shape) / math.sqrt(short)
        state = euler_maruyama(state, purifier.score(state, now), (0.1 + 19.9 * now) * short, noise)
    assert torch.allclose(state.flatten(1), theirs, atol=1e-6)
