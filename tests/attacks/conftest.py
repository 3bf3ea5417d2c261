"""Small defenses with known optima, shared by the tests of the attacks."""

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
"""Order of the dual norm: within the radius, a linear function decreases by at most radius · |w|_dual."""

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
    """linear(classes, norm): a linear defense, mid-range images x, labels y, and the distance of each to the boundary.

    All logits are equal at mid grey and the classifier is linear around it, so scaling the difference from mid grey
    scales the distance: every image is scaled to DISTANCE (with `spread`, to between 0.5 and 1.5 of it).
    Two classes have random weights. More classes have rows of a Hadamard matrix, which are equally far apart in both
    norms, and a clear runner-up. Otherwise the nearest class need not be the runner-up, and an attack that follows the
    runner-up would correctly miss the optimum.
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
        # in l1 many components share the largest weight, which leaves room for a larger distance and clear margins
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
    """A classifier whose input gets additive Gaussian noise."""

    def __init__(self, inner, sigma):
        super().__init__()
        self.inner, self.sigma = inner, sigma

    def forward(self, x):
        return self.inner(x + self.sigma * torch.randn_like(x))


@pytest.fixture
def small():
    """small(classes, noise): a small network on 8×8 images, labelled with the network's own predictions."""

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
    """accuracy(defense, x, y, draws): accuracy of the defense, averaged over draws."""

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
        # x' is float32 in [0,1]: the rounding error of each value is at most half of 2^-24
        rounding = threat.size(torch.full_like(x[:1], 2**-25)).item()
        assert threat.size(adversarial - x).max() <= threat.radius * (1 + 1e-5) + rounding + 1e-7

    return check
