"""Tests of the reparametrised attack on a linear generator, against the optimum of a linear program."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from purebench.attacks.adaptive.reparametrised import Reparametrised, ascent
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense, Function, LatentSearchPurifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.gan.defense_gan import defense_gan

PIXELS, CODES, CLASSES = 16, 5, 4


class Subspace(LatentSearchPurifier):
    """G(u) = 0.5 + A·u with orthonormal columns; the search is the exact projection, without a gradient."""

    random, differentiable = False, False

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    def search(self, x):
        return ((x - 0.5).flatten(1) @ self.matrix).detach()

    def generate(self, codes):
        return (0.5 + codes @ self.matrix.T).view(-1, 1, 4, 4)

    def forward(self, x):
        return self.generate(self.search(x))


class Planes(nn.Module):
    """z = scale · (W (x - 0.5) + c)."""

    def __init__(self, weight, bias, scale=1.0):
        super().__init__()
        self.weight, self.bias, self.scale = nn.Parameter(weight), nn.Parameter(bias), scale

    def forward(self, x):
        return self.scale * ((x - 0.5).flatten(1) @ self.weight.T + self.bias)


@pytest.fixture
def subspace():
    """subspace(off, scale): a defense by projection, images at a distance `off` from the subspace, their labels."""

    def make(off, scale=1.0):
        with seeded("subspace"):
            matrix = torch.linalg.qr(torch.randn(PIXELS, CODES)).Q
            weight = torch.randn(CLASSES, PIXELS)
            codes, noise = 0.3 * torch.randn(6, CODES), torch.randn(6, PIXELS)
        noise = noise - noise @ matrix @ matrix.T
        away = codes @ matrix.T + off * noise / noise.norm(dim=1, keepdim=True)
        defense = as_defense(Defense(Planes(weight, torch.tensor([1.5, 0, 0, 0]), scale), Subspace(matrix)))
        x = (0.5 + away).view(-1, 1, 4, 4)
        assert x.min() > 0.05
        assert x.max() < 0.95
        return SimpleNamespace(defense=defense, x=x, y=torch.zeros(6, dtype=torch.long), matrix=matrix, weight=weight)

    return make


def optimum(case, i, radius, offset):
    """Largest margin max_t (W_t - W_y)·A u with |A u - (x - 0.5)| ≤ radius in every pixel; |A (u - u0)| with offset."""
    matrix, weight = case.matrix.double().numpy(), case.weight.double().numpy()
    away = (case.x[i] - 0.5).flatten().double().numpy()
    centre = matrix @ (matrix.T @ away) if offset else away
    bounds = np.concatenate([centre + radius, radius - centre])
    y, best = int(case.y[i]), -np.inf
    for t in set(range(CLASSES)) - {y}:
        done = linprog(
            -(weight[t] - weight[y]) @ matrix, np.concatenate([matrix, -matrix]), bounds, bounds=(None, None)
        )
        best = max(best, -done.fun - (1.5 if y == 0 else 0.0))
    return best


def margins(case, x):
    logits = case.defense(x)
    own = logits.gather(1, case.y[:, None])
    return (logits.scatter(1, case.y[:, None], -torch.inf).amax(1, keepdim=True) - own).flatten()


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize(("off", "offset"), [(0.0, False), (0.0, True), (0.05, False), (0.05, True)])
def test_the_largest_margin_on_a_linear_manifold_is_that_of_the_linear_program(subspace, inside, off, offset, scale):
    case, threat = subspace(off, scale), ThreatModel("linf", 0.06)
    best = torch.tensor([optimum(case, i, threat.radius, offset) for i in range(6)])
    assert (best < 0).all(), best
    found = Reparametrised(offset=offset)(bpda(case.defense), case.x, case.y, threat)
    inside(found, case.x, threat)
    clean, reached = margins(case, case.x) / scale, margins(case, found) / scale
    assert (reached - clean >= 0.99 * (best - clean)).all()
    inner = case.weight @ case.matrix @ case.matrix.T  # without the manifold: no point of the ball exceeds its corner
    most = clean[:, None] + threat.radius * (inner[1:] - inner[:1]).abs().sum(1)
    assert (reached <= most.amax(1) + 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_images_near_a_boundary_are_broken_in_every_norm(subspace, inside, norm):
    case = subspace(0.05)
    threat = ThreatModel(norm, {"linf": 0.1, "l2": 0.3, "l1": 1.2}[norm])
    view, nearest = bpda(case.defense), margins(case, case.x) > -0.6
    assert 0 < nearest.sum() < 6
    found = Reparametrised()(view, case.x, case.y, threat)
    inside(found, case.x, threat)
    assert (case.defense(found).argmax(1) != case.y)[nearest].all()
    assert view.backwards < 100 * 6  # broken images leave


def test_a_step_costs_one_pass_of_generator_and_classifier(subspace):
    """The image, its search, and the defense's answer every 5 steps and at the end."""
    case = subspace(0.0)
    view = bpda(case.defense)
    Reparametrised(steps=12)(view, case.x, case.y, ThreatModel("linf", 1e-3))
    assert view.backwards == 12 * 6
    assert view.forwards == (1 + 1 + 12 + 3) * 6


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_the_ascent_is_the_gradient_of_the_margin_minus_the_weighted_excess(subspace, weight, shift):
    """The point G(u) + shift leaves a ball of radius 0.05 in each pixel by 0.05 where shift is 0.1, and else is inside.

    The longest perturbation of this linf ball has the l2 length 0.05 · 4 in 16 pixels.
    """
    case = subspace(0.0)
    purifier, moved = case.defense.purifier, torch.full_like(case.x, shift)
    found = ascent(
        *(bpda(case.defense), purifier, purifier.search(case.x), case.y, case.x, moved),
        threat=ThreatModel("linf", 0.05),
        weight=weight,
    )
    most = case.defense(case.x)[:, 1:].argmax(1) + 1
    slope = case.weight[most] - case.weight[0]
    excess = 0.05 if shift else 0.0
    expected = (slope / slope.norm(dim=1, keepdim=True) - weight * excess / 0.2) @ case.matrix
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("purifier", [None, Function(lambda x: x, random=False)])
def test_a_defense_that_searches_no_codes_is_inapplicable(subspace, purifier):
    case = subspace(0.0)
    with pytest.raises(Inapplicable, match="searches no codes"):
        Reparametrised()(exact(Defense(case.defense.classifier, purifier)), case.x, case.y, ThreatModel("linf", 0.1))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": 0.0}, {"offset": 1}])
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        Reparametrised(**wrong)


def test_the_bundled_defense_gan_can_be_attacked(inside):
    images = fashion_mnist().take(range(2))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, threat = as_defense(defense_gan(steps=1), fashion_resnet()), ThreatModel("linf", 0.1)
    view = bpda(defense)
    inside(Reparametrised(steps=2)(view, x, y, threat), x, threat)
    assert view.backwards > 0
    purifier = defense.purifier
    torch.testing.assert_close(purifier.generate(purifier.search(x)), purifier(x))
