"""APGD's own parts: the paper's checkpoints, its two conditions, its momentum; strength against Foolbox's PGD."""

import math
from fractions import Fraction

import pytest
import torch

from purebench.attacks.apgd import APGD, Run, checkpoints
from purebench.attacks.from_foolbox import from_foolbox
from purebench.attacks.view import exact
from purebench.datasets import fashion_mnist
from purebench.defense import as_defense
from purebench.defenses.resnet import fashion_resnet
from purebench.errors import PurebenchError
from purebench.seeds import seeded
from purebench.threat import ThreatModel


def paper_checkpoints(steps):
    """w_j = ceil(p_j N), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in exact arithmetic."""
    shares = [Fraction(0), Fraction(22, 100)]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - Fraction(3, 100), Fraction(6, 100)))
    return [math.ceil(share * steps) for share in shares if share <= 1]


def test_checkpoints_of_a_hundred_steps():
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 40, 50, 75, 200, 300, 500, 700, 1000])
def test_checkpoints_are_the_papers(steps):
    assert checkpoints(steps) == paper_checkpoints(steps)


def stalled(increases, step_kept, top, top_then):
    """Four images at a checkpoint whose window was 8 steps long."""
    ones = torch.ones(4, 1, 1, 1)
    return Run(
        index=torch.arange(4),
        x=0 * ones,
        point=1 * ones,
        before=0.5 * ones,
        step=torch.full((4,), 0.8),
        loss=torch.zeros(4),
        top=torch.tensor(top),
        top_point=2 * ones,
        top_gradient=20 * ones,
        gradient=10 * ones,
        increases=torch.tensor(increases),
        step_kept=torch.tensor(step_kept),
        top_then=torch.tensor(top_then),
    )


def test_the_step_halves_under_condition_1_or_2_and_the_run_goes_back_to_its_best_point():
    state = stalled(
        # too few increases | enough (rho 0.75 of 8) | enough, no better maximum, step kept | the same, step just halved
        increases=[5.0, 6.0, 8.0, 8.0],
        step_kept=[False, True, True, False],
        top=[3.0, 3.0, 3.0, 3.0],
        top_then=[1.0, 2.0, 3.0, 3.0],
    )
    APGD()._reconsider(state, 8, back=True)
    halved = [True, False, True, False]
    assert state.step.tolist() == pytest.approx([0.4 if half else 0.8 for half in halved])
    assert state.point.flatten().tolist() == [2.0 if half else 1.0 for half in halved]
    assert state.gradient.flatten().tolist() == [20.0 if half else 10.0 for half in halved]
    assert state.loss.tolist() == [3.0 if half else 0.0 for half in halved]
    assert state.step_kept.tolist() == [not half for half in halved]
    assert state.top_then.tolist() == [3.0] * 4
    assert state.increases.tolist() == [0.0] * 4


def test_the_first_steps_are_twice_the_radius_and_then_carry_momentum():
    """On z = (s, -s, -2s) with s = -Σ x the loss is linear, so that every iterate is known in advance."""
    seen = []

    def slope(x):
        seen.append(x.detach().clone())
        s = -x.flatten(1).sum(1, keepdim=True) - 100.0  # so far from its border that nothing is ever broken
        return -s * torch.tensor([[1.0, -1.0, -2.0]])

    x, radius = torch.full((1, 1, 2, 2), 0.5), 0.1
    with seeded("steps"):
        APGD(steps=4, loss="cw")(exact(as_defense(slope)), x, torch.tensor([0]), ThreatModel("linf", radius))
    start, first, second = (point for point in seen[1:4])  # seen[0] is the image itself
    assert (start - x).abs().max() < radius
    torch.testing.assert_close(first, x - radius)  # eta = 2 radius reaches the far side from anywhere
    torch.testing.assert_close(second, x - radius)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps(small, inside, steps):
    case, threat = small(), ThreatModel("l2", 0.5)
    view = exact(case.defense)
    with seeded("few"):
        inside(APGD(steps=steps)(view, case.x, case.y, threat), case.x, threat)
    assert view.backwards <= steps * len(case.x)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": -1}, {"steps": 2.5}, {"loss": "hinge"}])
def test_bad_settings(wrong):
    with pytest.raises(PurebenchError):
        APGD(**wrong)


def test_on_the_bundled_classifier_it_leaves_no_more_than_foolbox_pgd(accuracy):
    images = fashion_mnist().take(range(64))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, steps = as_defense(fashion_resnet()), 20
    with seeded("bundled"):
        left, of_foolbox = (
            accuracy(defense, attack(exact(defense), x, y, ThreatModel("linf", 8 / 255)), y)
            for attack in (APGD(steps=steps), from_foolbox("LinfPGD", steps=steps))
        )
        broken = APGD(steps=steps)(exact(defense), x, y, ThreatModel("linf", 16 / 255))
    assert left <= of_foolbox
    assert accuracy(defense, broken, y) < 0.05
