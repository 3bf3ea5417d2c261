"""Tests of APGD: checkpoints, step-size conditions and momentum of the paper, and strength against Foolbox's PGD."""

import math
from fractions import Fraction

import pytest
import torch

from purebench.attacks.gradient.apgd import APGD, Momentum, apgd_t, checkpoints
from purebench.attacks.gradient.apgd_random import Annealed
from purebench.attacks.gradient.apgd_state import RunState
from purebench.attacks.gradient.targets import aims_of_runs
from purebench.attacks.libraries.foolbox import from_foolbox
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet

THREAT = ThreatModel("linf", 0.1)


def paper_checkpoints(steps):
    """w_j = ceil(p_j N), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in exact arithmetic."""
    shares = [Fraction(0), Fraction(22, 100)]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - Fraction(3, 100), Fraction(6, 100)))
    return [math.ceil(share * steps) for share in shares if share <= 1]


def test_checkpoints_for_100_steps_are_those_of_the_paper():
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 40, 50, 75, 200, 300, 500, 700, 1000])
def test_checkpoints_equal_the_paper_formula(steps):
    assert checkpoints(steps) == paper_checkpoints(steps)


def state_at_checkpoint(increases, step_kept, top, top_then):
    """State of four images at the first checkpoint of 40 steps, after a window of 9 steps."""
    ones = torch.ones(4, 1, 1, 1)
    return RunState(
        index=torch.arange(4),
        x=0 * ones,
        aims=torch.zeros(4),
        point=1 * ones,
        before=0.5 * ones,
        step=torch.full((4,), 0.8),
        loss=torch.zeros(4),
        top=torch.tensor(top),
        top_point=2 * ones,
        top_gradient=20 * ones,
        gradient=10 * ones,
        heading=0 * ones,
        increases=torch.tensor(increases),
        step_kept=torch.tensor(step_kept),
        top_then=torch.tensor(top_then),
        share=torch.zeros(4),
        moved_then=torch.zeros(4),
        threat=THREAT,
        project=THREAT.around(0 * ones + 0.5),
    )


def test_the_step_halves_under_condition_1_or_2_and_the_run_returns_to_its_best_point():
    state = state_at_checkpoint(
        # too few increases | enough (rho 0.75 of 9) | enough, no better maximum, step kept | the same, step just halved
        increases=[6.0, 7.0, 9.0, 9.0],
        step_kept=[False, True, True, False],
        top=[3.0, 3.0, 3.0, 3.0],
        top_then=[1.0, 2.0, 3.0, 3.0],
    )
    Momentum(THREAT, 40, 0.75).reconsider(state, 9, back=True)
    halved = [True, False, True, False]
    assert state.step.tolist() == pytest.approx([0.4 if half else 0.8 for half in halved])
    assert state.point.flatten().tolist() == [2.0 if half else 1.0 for half in halved]
    assert state.gradient.flatten().tolist() == [20.0 if half else 10.0 for half in halved]
    assert state.loss.tolist() == [3.0 if half else 0.0 for half in halved]
    assert state.step_kept.tolist() == [not half for half in halved]
    assert state.top_then.tolist() == [3.0] * 4
    assert state.increases.tolist() == [0.0] * 4


def test_the_first_steps_reach_the_far_side_of_the_ball():
    """On z = (s, -s, -2s) with s = -Σ x the loss is linear and every iterate is known."""
    seen = []

    def slope(x):
        seen.append(x.detach().clone())
        s = -x.flatten(1).sum(1, keepdim=True) - 100.0  # so far from the decision boundary that no image is broken
        return -s * torch.tensor([[1.0, -1.0, -2.0]])

    x, radius = torch.full((1, 1, 2, 2), 0.5), 0.1
    with seeded("steps"):
        APGD(steps=4, loss="cw")(exact(as_defense(slope)), x, torch.tensor([0]), ThreatModel("linf", radius))
    start, first, second = (point for point in seen[1:4])  # seen[0] is the image itself
    assert (start - x).abs().max() < radius
    torch.testing.assert_close(first, x - radius)  # a step of 2 · radius reaches the far side from any start
    torch.testing.assert_close(second, x - radius)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_runs_of_few_steps_stay_inside_the_threat_model_and_their_budget(small, inside, steps):
    case, threat = small(), ThreatModel("l2", 0.5)
    view = exact(case.defense)
    with seeded("few"):
        inside(APGD(steps=steps)(view, case.x, case.y, threat), case.x, threat)
    assert view.backwards <= steps * len(case.x)


def test_the_step_is_unchanged_between_checkpoints():
    state = state_at_checkpoint([0.0] * 4, [True] * 4, [3.0] * 4, [3.0] * 4)
    Momentum(THREAT, 40, 0.75).reconsider(state, 8, back=True)
    assert state.step.tolist() == pytest.approx([0.8] * 4)


def test_on_random_defenses_steps_follow_a_cosine_along_accumulated_gradients():
    state = state_at_checkpoint([0.0] * 4, [True] * 4, [3.0] * 4, [3.0] * 4)
    rule = Annealed(THREAT, 8)
    assert rule.first == 0.1
    state.x = state.point = torch.full_like(state.x, 0.5)
    state.gradient = torch.tensor([2.0, -2.0, 2.0, -2.0]).view(4, 1, 1, 1)
    state.step = torch.full((4,), 0.02)
    moved = rule.move(state, 1)
    assert (moved - 0.5).flatten().tolist() == pytest.approx([0.02, -0.02, 0.02, -0.02], abs=1e-6)
    state.gradient = torch.tensor([-1.0, -1.0, 9.0, 9.0]).view(4, 1, 1, 1)
    rule.move(state, 2)  # 0.9 of the accumulated gradient plus the sign of the new one
    assert state.heading.flatten().tolist() == pytest.approx([-0.1, -1.9, 1.9, 0.1], abs=1e-6)
    steps = []
    for k in range(1, 9):
        rule.reconsider(state, k, back=False)
        steps.append(state.step[0].item())
    assert steps == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 8)) for k in range(1, 9)])


def test_targets_are_the_most_likely_wrong_classes_with_one_run_each(small):
    """On a classifier that is always correct, each target gets a run, in the order of the clean scores."""
    logits = torch.tensor([[9.0, 5.0, 1.0, 3.0, 4.0]])
    view = exact(as_defense(lambda x: logits + 0 * x.flatten(1).sum(1, keepdim=True)))
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 0])
    attack = apgd_t(targets=3, steps=2)
    clean = view.scores(x)
    assert [aims[0].tolist() for aims in aims_of_runs(clean, y, 3)] == [[0, 1], [0, 4], [0, 3]]
    assert len(aims_of_runs(clean, y, 9)) == 4  # limited by the number of wrong classes
    attack(view, x, y, ThreatModel("linf", 0.1))
    assert view.backwards == 2 * 3 * 2  # images, targets, steps


def test_targeted_apgd_breaks_an_image_whose_runner_up_cannot_win():
    """The runner-up can never win; only targeting the third class breaks the image."""

    def net(x):
        s = x.flatten(1).mean(1, keepdim=True) - 0.5  # 0 at the image
        return torch.cat([0 * s + 1.0, 0 * s + 0.9, 20 * s, 0 * s - 5.0, 0 * s - 6.0], 1)

    x, y, threat = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0]), ThreatModel("linf", 0.1)
    defense = as_defense(net)
    with seeded("astray"):
        found = apgd_t(targets=2, steps=10)(exact(defense), x, y, threat)
    assert defense(found).argmax(1).item() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"restarts": -1},
        {"steps": 2.5},
        {"loss": "hinge"},
        {"targets": -1},
        {"targets": 3, "loss": "ce-scaled"},
        {"rho": 1.5},
    ],
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError):
        APGD(**wrong)


def test_apgd_is_at_least_as_strong_as_foolbox_pgd_on_the_bundled_classifier(accuracy):
    images = fashion_mnist().take(range(64))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, steps = as_defense(fashion_resnet()), 20
    with seeded("bundled"):
        threat = ThreatModel("linf", 8 / 255)
        left = accuracy(defense, APGD(steps=steps)(exact(defense), x, y, threat), y)
        foolbox = from_foolbox("LinfPGD", steps=steps)(exact(defense), x, y, threat)
        of_foolbox = accuracy(defense, foolbox.images, y)
        broken = APGD(steps=steps)(exact(defense), x, y, ThreatModel("linf", 16 / 255))
    assert left <= of_foolbox
    assert accuracy(defense, broken, y) < 0.05


def test_without_early_stopping_the_point_with_the_largest_loss_is_returned():
    """On a linear model the point with the largest loss is known: a corner of the ball."""
    torch.manual_seed(0)
    row, x = torch.randn(16), torch.rand(12, 1, 4, 4) * 0.4 + 0.3
    weight = torch.stack([row - row.mean(), row.mean() - row])
    defense = as_defense(lambda images: images.flatten(1) @ weight.T)
    y, threat = defense(x).argmax(1), ThreatModel("linf", 0.3)
    corner = x + 0.3 * (weight[1 - y] - weight[y]).view_as(x).sign()
    found, looks = {}, {}
    for stop in (True, False):
        view = exact(defense)
        with seeded("stop"):
            found[stop] = APGD(loss="cw", steps=20, stop=stop)(view, x, y, threat)
        looks[stop] = view.backwards
    assert (defense(found[True]).argmax(1) != y).all()
    assert not torch.allclose(found[True], corner)
    torch.testing.assert_close(found[False], corner)
    assert looks[True] < looks[False]


@pytest.mark.parametrize("stop", [0, 1, "no", None])
def test_stop_must_be_a_bool(stop):
    with pytest.raises(PurebenchError, match="stop: expected true or false"):
        APGD(stop=stop)
