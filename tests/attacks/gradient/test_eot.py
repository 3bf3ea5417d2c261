"""Tests that EOT gradients converge to the gradient of the smoothed defense at the Monte Carlo rate."""

import math

import numpy as np
import pytest
import torch

from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.seeds import seeded

SIGMA = 0.4
DRAWS = (4, 16, 64, 256, 1024)


def wave(x):
    """Logits (-sin(w·x), sin(w·x)) with |w| = 2, whose mean under Gaussian noise has a closed form, and w."""
    weight = 2 * torch.linspace(-1, 1, x[0].numel()) / torch.linspace(-1, 1, x[0].numel()).norm()
    s = torch.sin(x.flatten(1) @ weight)[:, None]
    return torch.cat([-s, s], 1), weight


def smoothed_gradient(x):
    """Gradient of the mean margin 2 sin(w·x + σ w·n): E cos(t + ε) = cos(t) exp(-Var ε / 2) for a normal ε."""
    weight = wave(x)[1]
    slope = 2 * math.exp(-(SIGMA**2) * 4 / 2) * torch.cos(x.flatten(1) @ weight)
    return (slope[:, None] * weight).view_as(x)


def noisy(x):
    return wave(x + SIGMA * torch.randn_like(x))[0]


VIEWS = {
    "exact, random classifier": lambda eot: exact(as_defense(noisy, random=True), eot=eot),
    "exact, random purifier": lambda eot: exact(
        Defense(lambda x: wave(x)[0], Function(lambda x: x + SIGMA * torch.randn_like(x), random=True)), eot=eot
    ),
    # the surrogate is the identity, which has the same derivative as adding noise, so the gradient is the same
    "bpda": lambda eot: bpda(
        Defense(lambda x: wave(x)[0], Function(lambda x: x + SIGMA * torch.randn_like(x), random=True)), eot=eot
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_gradient_error_decreases_with_the_square_root_of_the_number_of_draws(name):
    with seeded("eot", name):
        x = torch.rand(48, 1, 3, 3)
        y = torch.zeros(48, dtype=torch.long)
        expected = smoothed_gradient(x)
        errors = [
            (VIEWS[name](draws).look(x, y, losses.margin).gradient - expected).square().mean().sqrt().item()
            for draws in DRAWS
        ]
    slope = np.polyfit(np.log(DRAWS), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)
    assert errors[-1] < 0.1 * expected.square().mean().sqrt().item()


def test_each_draw_is_one_pass_with_independent_noise():
    view = VIEWS["exact, random purifier"](32)
    with seeded("passes"):
        look = view.look(torch.rand(3, 1, 3, 3), torch.zeros(3, dtype=torch.long), losses.margin)
    assert (view.forwards, view.backwards) == (96, 96)
    assert look.logits.shape == (3, 32, 2)
    assert len(look.logits[0].unique(dim=0)) == 32  # each draw has its own noise
