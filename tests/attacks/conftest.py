"""Tiny defenses whose answers are known; the tests of the attacks build on them."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.linalg import hadamard
from torch import nn

from purebench.core.defense import Defense, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

DUAL = {"linf": 1, "l2": 2, "l1": math.inf}
"""The dual norm's order: a linear function falls by radius · |w|_dual within the radius."""

DISTANCE = {"linf": 0.04, "l2": 0.25, "l1": 0.25}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Linear(nn.Module):
    """z = W x + b on images [N,C,H,W]."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def linear():
    """linear(classes, norm): a linear defense, mid-range images x, labels y, each one's least distance to an error.

    All logits are equal at mid grey and the classifier is linear around it, so that stretching an image away from mid
    grey stretches its distance: every image is brought to DISTANCE (with `spread`, to 0.5 to 1.5 of it).
    Two classes have any weights. More have rows of a Hadamard matrix, which are all equally far apart in both norms,
    and a clear runner-up: otherwise the nearest class need not be the runner-up, and following that were no fault.
    """

    def make(classes, norm, images=100, shape=(1, 8, 8), spread=False):
        with seeded("linear", str(classes), norm):
            size = math.prod(shape)
            weight = torch.randn(classes, size)
            if classes > 2:
                weight = torch.tensor(hadamard(size))[torch.randperm(size)[:classes]] * weight[0].sign()
            labels = torch.randint(classes, (images,))
            own, other = weight[labels], weight[(labels + 1 + torch.randint(classes - 1, (images,))) % classes]
            away = 0.01 * (own + (0.5 if classes > 2 else -1) * other + 0.2 * torch.randn_like(own)).view(
                images, *shape
            )
        defense = as_defense(Linear(weight, -0.5 * weight.sum(1)))
        y = defense(0.5 + away).argmax(1)
        least = least_distance(weight, defense(0.5 + away), y, norm)
        # in l1 all differ most in many components alike, which together have room for more: the margins are clear again
        far = 8 if norm == "l1" and classes > 2 else 1
        goal = far * DISTANCE[norm] * (torch.linspace(0.5, 1.5, images) if spread else torch.ones(images))
        away, least = away * (goal / least).view(-1, 1, 1, 1), goal
        return SimpleNamespace(defense=defense, x=0.5 + away, y=y, distance=least)

    return make


def least_distance(weight, logits, y, norm):
    """min over j ≠ y of (z_y - z_j) / |w_y - w_j|_dual, [N]."""
    gap = logits.gather(1, y[:, None]) - logits
    slope = (weight[y][:, None] - weight[None]).norm(p=DUAL[norm], dim=2)
    ratio = gap / slope
    return ratio.scatter(1, y[:, None], float("inf")).amin(1)


class Net(nn.Module):
    """A small smooth network on 8×8 images."""

    def __init__(self, classes=5, channels=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(96, classes)
        )

    def forward(self, x):
        return 6 * self.layers(2 * x - 1)


class NoisyInput(nn.Module):
    """A classifier behind additive Gaussian noise."""

    def __init__(self, inner, sigma):
        super().__init__()
        self.inner, self.sigma = inner, sigma

    def forward(self, x):
        return self.inner(x + self.sigma * torch.randn_like(x))


@pytest.fixture
def small():
    """small(classes, noise): a tiny network on 8×8 images that are labelled as it sees them."""

    def make(classes=5, noise=0.0, images=12, channels=1):
        with seeded("small", str(classes)):
            net = Net(classes, channels)
            x = torch.rand(images, channels, 8, 8)
        defense = as_defense(NoisyInput(net, noise), random=True) if noise else as_defense(net)
        y = as_defense(net)(x).argmax(1)
        return SimpleNamespace(defense=defense, x=x, y=y, net=net)

    return make


@pytest.fixture
def accuracy():
    """accuracy(defense, x, y, draws): share of right answers of the defense itself."""

    @torch.no_grad()
    def of(defense: Defense, x, y, draws=1):
        return sum((defense(x).argmax(1) == y).float().mean().item() for _ in range(draws)) / draws

    return of


@pytest.fixture
def inside():
    """inside(adversarial, x, threat): raises AssertionError for a point outside the threat model."""

    def check(adversarial, x, threat: ThreatModel):
        assert adversarial.shape == x.shape
        assert torch.isfinite(adversarial).all()
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1
        # x' is a float32 in [0,1]: every value of it is off by at most half of 2^-24
        rounding = threat.size(torch.full_like(x[:1], 2**-25)).item()
        assert threat.size(adversarial - x).max() <= threat.radius * (1 + 1e-5) + rounding + 1e-7

    return check
