"""Tests the closed form of the worst case of a linear classifier with noise, by enumeration and by simulation."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from purebench.core.threat import ThreatModel
from purebench.defenses.controls.linear_noise import LinearClassifier, LinearNoise, least_margins


def classifier(seed: int, values: int = 4) -> LinearClassifier:
    torch.manual_seed(seed)
    made = LinearClassifier(values=values, classes=3)
    torch.nn.init.normal_(made.layer.weight, std=2.0)
    return made.eval().requires_grad_(False)


def corners(x: Tensor, radius: float) -> Tensor:
    """Return all corners of the box of one image [1,2,2]."""
    low, high = (x - radius).clamp(0, 1).flatten(), (x + radius).clamp(0, 1).flatten()
    return torch.stack([torch.where(torch.tensor(up), high, low) for up in product((True, False), repeat=4)])


@pytest.mark.parametrize("noisy", [0, 1, 2])
def test_truth_is_the_smallest_simulated_accuracy_over_all_corners(noisy: int) -> None:
    linear, threat = classifier(noisy), ThreatModel("linf", 0.06)
    defense = LinearNoise(linear, 1.0, noisy)
    x = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(noisy))
    y = linear(x).argmax(1)
    truth = defense.truth(x, y, threat)
    assert truth.low.tolist() == truth.high.tolist()
    for image, label, known in zip(x, y, truth.low.tolist(), strict=True):
        points = corners(image, threat.radius).view(-1, 1, 2, 2)
        right = (defense(points.repeat(4000, 1, 1, 1)).argmax(1) == label).view(4000, -1)
        assert float(right.double().mean(0).min()) == pytest.approx(known, abs=0.05)


def test_least_margins_in_l2_equal_a_general_optimizer() -> None:
    linear, threat = classifier(3), ThreatModel("l2", 0.4)
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    y = linear(x).argmax(1)
    found = least_margins(linear, x, y, threat)
    weight, bias = linear.layer.weight.double().numpy(), linear.layer.bias.double().numpy()
    for row, image in enumerate(x.double().flatten(1).numpy()):
        label = int(y[row])
        for other in (one for one in range(3) if one != label):
            slope, offset = weight[label] - weight[other], bias[label] - bias[other]
            best = minimize(
                lambda point, slope=slope: slope @ point,
                image,
                method="SLSQP",
                bounds=[(0, 1)] * 4,
                constraints={"type": "ineq", "fun": lambda point, image=image: 0.16 - ((point - image) ** 2).sum()},
                options={"ftol": 1e-12},
            )
            assert float(found[row, other]) == pytest.approx(best.fun + offset, abs=1e-5)


def test_another_class_that_can_be_reached_makes_the_truth_zero() -> None:
    linear = classifier(0)
    x = torch.full((1, 1, 2, 2), 0.5)
    y = linear(x).argmax(1)
    everything = ThreatModel("linf", 0.5)
    reachable = bool((least_margins(linear, x, y, everything) < 0).sum() >= 2)
    assert reachable
    assert LinearNoise(linear, 1.0, int((y + 1) % 3)).truth(x, y, everything).high.tolist() == [0.0]
    assert 0 < float(LinearNoise(linear, 1.0, int(y)).truth(x, y, everything).high) < 0.5
