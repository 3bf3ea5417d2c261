"""Tests the worst cases of the conflict and the coin, and the bounds of noise and of the 1-Lipschitz network."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from purebench.core.defense.known_truth import Truth
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.controls.certified_noise import CertifiedNoise
from purebench.defenses.controls.coin import Coin, broken_point, coin
from purebench.defenses.controls.conflict import Conflict, chessboard, conflict
from purebench.defenses.controls.lipschitz import LipschitzNetwork, largest_singular_value, lipschitz

THREAT = ThreatModel("linf", 16 / 255)
DRAWS = 200


def images(count: int) -> tuple[Tensor, Tensor]:
    data = fashion_mnist().take(range(count))
    return torch.as_tensor(data.floats()), torch.as_tensor(data.labels)


def accuracy(defense: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([defense(x).argmax(1) == y for _ in range(DRAWS)]).double().mean(0)


def worst_corner(x: Tensor, sign: float) -> Tensor:
    return (x + sign * THREAT.radius * chessboard(x)).clamp(0, 1)


def test_half_of_the_draws_of_the_conflict_can_be_broken_and_no_more() -> None:
    torch.manual_seed(0)
    defense: Conflict = conflict()
    x, y = images(40)
    truth = defense.truth(x, y, THREAT)
    scored = ~truth.low.isnan()
    assert int(scored.sum()) >= 15
    x, y, known = x[scored], y[scored], truth.low[scored]
    assert accuracy(defense, x, y).min() == 1.0
    attacked = torch.minimum(accuracy(defense, worst_corner(x, 1.0), y), accuracy(defense, worst_corner(x, -1.0), y))
    assert (attacked - known).abs().max() < 5 * 0.5 / math.sqrt(DRAWS)
    anywhere = (x + THREAT.radius * torch.randn_like(x).sign()).clamp(0, 1)
    assert bool((accuracy(defense, anywhere, y) >= known - 5 * 0.5 / math.sqrt(DRAWS)).all())


def test_mean_gradient_of_the_margin_of_the_conflict_is_zero() -> None:
    defense, (x, _) = conflict(), images(2)
    leaf = x.clone().requires_grad_()
    gradients = set()
    for seed in range(20):
        torch.manual_seed(seed)
        (gradient,) = torch.autograd.grad(defense(leaf).amax(1).sum(), leaf)
        gradients.add(tuple(gradient.flatten(1)[:, 500].tolist()))
    for gradient in gradients:
        assert tuple(-value for value in gradient) in {(a, b) for a, b in gradients} or 0.0 in gradient
    assert len(gradients) == 4


def test_a_threshold_out_of_reach_leaves_the_conflict_robust() -> None:
    x, y = images(40)
    known = conflict(theta=0.5).truth(x, y, THREAT).low
    assert set(known[~known.isnan()].tolist()) == {1.0}


def test_the_coin_is_wrong_half_of_the_time_at_a_point_that_breaks_the_undefended_model() -> None:
    torch.manual_seed(0)
    defense: Coin = coin()
    x, y = images(30)
    truth = defense.truth(x, y, THREAT)
    scored = ~truth.low.isnan()
    assert int(scored.sum()) >= 10
    x, y = x[scored][:5], y[scored][:5]
    attacked = broken_point(defense.other, x, y, THREAT)
    assert bool(((attacked - x).abs() <= THREAT.radius + 1e-6).all())
    assert (accuracy(defense, x, y) == 1).all()
    assert (accuracy(defense, attacked, y) - 0.5).abs().max() < 5 * 0.5 / math.sqrt(DRAWS)
    anywhere = (x + THREAT.radius * torch.randn_like(x).sign()).clamp(0, 1)
    assert (accuracy(defense, anywhere, y) >= 0.5 - 5 * 0.5 / math.sqrt(DRAWS)).all()


class Halfspace(nn.Module):
    """Two classes, told apart by one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1)[:, :1] - 0.5
        return torch.cat([score, -score], 1)


def test_bound_of_noise_lies_just_below_the_exact_worst_case_of_a_halfspace() -> None:
    torch.manual_seed(0)
    sigma, radius = 0.2, 0.1
    x, y = torch.full((1, 1, 2, 2), 0.75), torch.zeros(1, dtype=torch.long)
    found = CertifiedNoise(Halfspace(), sigma, 4000, "").truth(x, y, ThreatModel("l2", radius))
    exact = float(ndtr((0.25 - radius) / sigma))
    assert exact - 0.05 < float(found.low) <= exact
    assert found.high.isnan().all()
    wide = CertifiedNoise(Halfspace(), sigma, 4000, "").truth(x, y, ThreatModel("linf", radius))  # 2 · radius in l2
    assert float(wide.low) == pytest.approx(float(ndtr((0.25 - 2 * radius) / sigma)), abs=0.05)


def test_lipschitz_network_never_stretches_a_distance() -> None:
    torch.manual_seed(0)
    network = LipschitzNetwork(side=8, pool=2, widths=(16, 16), classes=4)
    for layer in network.layers:
        nn.init.normal_(layer.weight, std=3.0)
    a, b = torch.rand(500, 1, 8, 8), torch.rand(500, 1, 8, 8)
    moved = (network(a) - network(b)).norm(dim=1)
    assert bool((moved <= (a - b).flatten(1).norm(dim=1) * (1 + 1e-4)).all())
    weight = torch.randn(5, 9)
    assert float(largest_singular_value(weight)) == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), rel=1e-5)


def test_no_attack_breaks_an_image_within_its_certified_radius() -> None:
    network, (x, y), threat = lipschitz(), images(100), ThreatModel("l2", 1.0)
    truth: Truth = network.truth(x, y, threat)
    proven = truth.low == 1
    assert 20 <= int(proven.sum()) <= 90
    x, y = x[proven], y[proven]
    point = x.clone()
    for _ in range(30):
        point.requires_grad_()
        loss = nn.functional.cross_entropy(20 * network(point), y)
        (gradient,) = torch.autograd.grad(loss, point)
        step = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp(min=1e-12)
        point = threat.project(point.detach() + 0.2 * step, x)
    assert bool((network(point).argmax(1) == y).all())
