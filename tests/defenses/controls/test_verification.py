"""Tests that complete verification agrees with an enumeration of all activation patterns."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, milp
from torch import Tensor

from purebench.core.errors import Inapplicable
from purebench.core.threat import ThreatModel
from purebench.defenses.controls import verification
from purebench.defenses.controls.relu_network import ReLUNetwork, verified
from purebench.defenses.controls.verification import robust_images

INFEASIBLE = 2
"""Code of `scipy.optimize.linprog`."""


def tiny(seed: int) -> ReLUNetwork:
    """Returns a network whose kinks and decision boundaries are near the grey image, so that answers differ."""
    torch.manual_seed(seed)
    network = ReLUNetwork(side=4, pool=2, widths=(3, 3), classes=3).requires_grad_(False)
    hidden = network.pool(torch.full((1, 1, 4, 4), 0.5)).flatten(1)
    for layer in network.linear:
        torch.nn.init.normal_(layer.weight)
        layer.bias.copy_(0.1 * torch.randn_like(layer.bias) - (hidden @ layer.weight.T)[0])
        hidden = layer(hidden).relu()
    return network.eval()


def largest_margin(network: ReLUNetwork, x: Tensor, label: int, radius: float) -> float:
    """Return max_t max_x' (logit_t − logit_label), by a linear program for each of the activation patterns."""
    layers = [(layer.weight.double().numpy(), layer.bias.double().numpy()) for layer in network.layers]
    low, high = (network.pool((x + sign * radius).clamp(0, 1)[None]).flatten().tolist() for sign in (-1, 1))
    units = sum(len(bias) for _, bias in layers[:-1])
    best = -np.inf
    for pattern in product((0, 1), repeat=units):
        matrix, constant, rows, bounds = np.eye(len(low)), np.zeros(len(low)), [], []
        left = list(pattern)
        for weight, bias in layers[:-1]:
            matrix, constant = weight @ matrix, weight @ constant + bias
            on = np.array([left.pop(0) for _ in bias])
            signs = np.where(on == 1, -1.0, 1.0)  # an active unit has z ≥ 0, another one z ≤ 0
            rows += list(signs[:, None] * matrix)
            bounds += list(-signs * constant)
            matrix, constant = on[:, None] * matrix, on * constant
        weight, bias = layers[-1]
        for target in (one for one in range(len(bias)) if one != label):
            row = (weight[target] - weight[label]) @ matrix
            offset = (weight[target] - weight[label]) @ constant + bias[target] - bias[label]
            found = linprog(-row, rows, bounds, bounds=list(zip(low, high, strict=True)))
            if found.status == INFEASIBLE:  # no image has this pattern, whatever the target
                break
            best = max(best, -found.fun + offset)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_verification_equals_the_enumeration_of_activation_patterns(seed: int) -> None:
    network = tiny(seed)
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    y = network(x).argmax(1)
    answers: set[float] = set()
    for radius in (0.02, 0.05, 0.1):
        found = robust_images(network, x, y, ThreatModel("linf", radius))
        expected = [
            float(largest_margin(network, image, int(label), radius) < 0) for image, label in zip(x, y, strict=True)
        ]
        assert found.low.tolist() == expected
        assert found.high.tolist() == expected
        answers.update(expected)
    assert answers == {0.0, 1.0}


def test_the_cases_contain_robust_and_broken_images_that_intervals_do_not_decide() -> None:
    decided = [
        float(robust_images(tiny(seed), x, tiny(seed)(x).argmax(1), ThreatModel("linf", 0.1)).low.mean())
        for seed in range(4)
        for x in [torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))]
    ]
    assert 0.1 < float(np.mean(decided)) < 0.9


def test_the_effort_is_limited_by_nodes_and_not_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of time, the truth would depend on the speed of the machine."""
    given: list[dict[str, float]] = []

    def solve(*terms: object, options: dict[str, float], **more: object) -> object:
        given.append(dict(options))  # milp empties the dictionary
        return milp(*terms, options=options, **more)

    monkeypatch.setattr(verification, "milp", solve)
    network, x = tiny(0), torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    robust_images(network, x, network(x).argmax(1), ThreatModel("linf", 0.1))
    assert given
    assert all(set(options) == {"node_limit"} for options in given)


def test_an_image_that_exceeds_the_limit_has_the_bounds_0_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = SimpleNamespace(status=1, x=None)
    network, x = tiny(0), torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = network(x).argmax(1)
    monkeypatch.setattr(verification, "milp", lambda *terms, **more: limited)
    found = robust_images(network, x, y, ThreatModel("linf", 0.1))
    assert (found.low.min(), found.high.max()) == (0, 1)
    assert bool((found.low <= found.high).all())


def test_a_wrong_answer_is_not_robust() -> None:
    network, x = tiny(0), torch.rand(4, 1, 4, 4)
    wrong = (network(x).argmax(1) + 1) % 3
    assert robust_images(network, x, wrong, ThreatModel("linf", 0.01)).high.tolist() == [0.0] * 4


def test_another_norm_is_inapplicable() -> None:
    with pytest.raises(Inapplicable, match="linf"):
        verified().truth(torch.rand(1, 1, 32, 32), torch.zeros(1, dtype=torch.long), ThreatModel("l2", 1.0))
