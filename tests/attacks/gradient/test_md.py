"""Tests of the margin decomposition attacks: their schedule, and the optimal corner of linear classifiers."""

import math

import pytest
import torch

from purebench.attacks.gradient.md import MD, step_length
from purebench.attacks.gradient.runs import random_start
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)
X, Y = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])


def planes(seed, bias):
    """W [K,16] of z = W (x - 0.5) + c, which always answers class 0 inside the ball for a large bias c_0."""
    c = torch.tensor(bias)
    with seeded("planes", str(seed)):
        weight = torch.randn(len(c), 16)
    return weight, lambda x: (x - 0.5).flatten(1) @ weight.T + c


def corner(slope):
    return X + 0.1 * slope.sign().view_as(X)


@pytest.mark.parametrize(("steps", "change"), [(100, 50), (50, 20), (10, 9)])
def test_the_step_falls_along_two_cosines_from_twice_the_radius(steps, change):
    """Compared with 2·½(1 + cos(π (i-1)/(K-K'))) up to K', and with K' subtracted from i after it."""
    for i in range(1, steps):
        done = (i - 1 if i <= change else i - change - 1) / (steps - change)
        expected = 2 * 0.5 * (1 + math.cos(math.pi * done)) if done < 1 else 0
        assert step_length(i, steps, change) == pytest.approx(expected, abs=1e-12)
    assert step_length(0, steps, change) == step_length(1, steps, change) == step_length(change + 1, steps, change) == 2


@pytest.mark.parametrize("loss", ["margin", "pm"])
@pytest.mark.parametrize("targets", [0, 1])
def test_each_run_makes_the_answer_more_right_then_follows_half_of_the_margin_and_then_the_whole(loss, targets):
    """On a linear classifier, each of the first steps of a stage ends at the corner of its term."""
    weight, net = planes(0, [2.5, 0.0, 0.5, 0.0])
    rival, seen = 2, []

    def watched(x):
        if torch.is_grad_enabled():
            seen.append(x.detach().clone())
        return net(x)

    attack = MD(loss=loss, steps=10, change=0.4, targets=targets)
    with seeded("stages"):
        attack(exact(as_defense(lambda x: 1e-3 * watched(x))), X, Y, ThreatModel("linf", 0.01))
    assert len(seen) == 20
    own, other = weight[0], weight[rival]
    if loss == "pm":  # with small logits all probabilities are 1/4, so the slope of p_k is that of z_k minus the mean
        own, other = own - weight.mean(0), other - weight.mean(0)
    for start, half in zip((0, 10), (-own, other), strict=True):
        for place, slope in ((start + 1, own), (start + 2, half), (start + 6, other - own)):
            assert torch.equal(seen[place].sub(X).sign(), corner(slope).sub(X).sign()), place
    with seeded("stages"):
        expected = random_start(X, ThreatModel("linf", 0.01))
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("loss", ["margin", "pm"])
@pytest.mark.parametrize("seed", range(4))
def test_md_ends_at_the_corner_of_the_runner_up(loss, seed):
    """The other classes are so unlikely that they hardly contribute to the gradient of PM."""
    weight, net = planes(seed, [17.0, 0.0, 10.0, 0.0])
    found = MD(loss=loss)(exact(as_defense(net)), X, Y, THREAT)
    torch.testing.assert_close(found, corner(weight[2] - weight[0]))


@pytest.mark.parametrize("seed", range(4))
def test_with_targets_md_ends_at_the_best_corner_of_all_classes(seed):
    """The best class is the least likely one at the image, so its runs are the last, and no other run reaches it."""
    weight, net = planes(seed, [9.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    weight[5] *= 3
    corners = torch.cat([corner(weight[t] - weight[0]) for t in range(1, 6)])
    values = net(corners)[:, 1:].amax(1) - net(corners)[:, 0]
    assert values.argmax() == 4
    assert (values < 0).all()
    found = MD(targets=5, steps=30)(exact(as_defense(net)), X, Y, THREAT)
    torch.testing.assert_close(found, corners[4:])


@pytest.mark.parametrize("loss", ["margin", "pm"])
def test_md_finds_the_worst_point_of_a_noisy_linear_defense(loss):
    """For a·x + b·noise and z = (v·p, -v·p), the worst point of linf is x - ε·sign(a·v) (T1)."""
    with seeded("noisy"):
        v = torch.randn(16)

    def purify(x):
        return 0.9 * x + 0.3 * torch.randn_like(x)

    defense = as_defense(
        Defense(lambda p: (p - 0.45).flatten(1) @ torch.stack([v, -v], 1), Function(purify, random=True))
    )
    x, y = X + 0.05 * v.view_as(X), Y
    with seeded("noisy"):
        found = MD(loss=loss, steps=30)(exact(defense, eot=8), x, y, ThreatModel("linf", 0.03))
    torch.testing.assert_close(found, x - 0.03 * v.sign().view_as(x), atol=1e-3, rtol=0)


def test_each_target_and_restart_has_two_runs():
    view = exact(as_defense(planes(2, [9.0, 0.0, 0.0])[1]))
    MD(steps=3, targets=2, restarts=3)(view, X, Y, THREAT)
    assert view.backwards == 3 * 2 * 2 * 3  # steps, runs, targets, restarts


@pytest.mark.parametrize(
    "wrong", [{"loss": "ce"}, {"change": 0.0}, {"change": 1.0}, {"steps": 0}, {"steps": 1}, {"targets": -1}]
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        MD(**wrong)


def test_md_refuses_l1():
    with pytest.raises(PurebenchError, match="md: expected the norm linf or l2, but got l1; use apgd"):
        MD()(exact(as_defense(planes(0, [9.0, 0.0])[1])), X, Y, ThreatModel("l1", 1.0))
