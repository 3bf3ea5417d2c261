"""Tests of PGD: starts, steps, momentum and settings."""

import pytest
import torch

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD, fgsm, mi_fgsm
from purebench.attacks.gradient.runs import random_start
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


def test_each_step_moves_a_share_of_the_radius_along_the_gradient_sign():
    seen = []

    def slope(x):
        seen.append(x.detach().clone())
        s = x.flatten(1).sum(1, keepdim=True) + 100
        return s * torch.tensor([[1.0, 0.0]])

    x = torch.full((1, 1, 2, 2), 0.5)
    found = PGD(loss="cw", steps=4, step=0.4, random=False)(
        exact(as_defense(slope)), x, torch.tensor([0]), ThreatModel("linf", 0.1)
    )
    moved = [round((point - x).mean().item(), 6) for point in seen]
    assert moved == [0, -0.04, -0.08, -0.1]  # four gradients, the first at the image, none at the last point
    torch.testing.assert_close(found, x - 0.1)


def test_the_first_run_uses_the_gradient_at_the_image_and_restarts_that_at_their_start():
    """Compared with steps written out; the minimum of the margin is slightly darker than the image."""
    seen = []

    def bowl(x):
        seen.append(x.detach().clone())
        margin = 1 + ((x - 0.5) ** 2 + 0.01 * x).flatten(1).sum(1, keepdim=True)
        return margin * torch.tensor([[1.0, 0.0]])

    x, threat = torch.full((1, 1, 2, 2), 0.5), ThreatModel("linf", 0.1)
    with seeded("first"):
        PGD(loss="cw", steps=2, step=0.3, restarts=2)(exact(as_defense(bowl)), x, torch.tensor([0]), threat)
    with seeded("first"):
        starts = [random_start(x, threat) for _ in range(2)]
    assert torch.equal(seen[0], x)
    torch.testing.assert_close(seen[1], threat.project(starts[0] - 0.03, x))  # descent at the image is darker
    assert torch.equal(seen[3], starts[1])  # seen[2] is the end of the first run
    down = -0.03 * (2 * (starts[1] - 0.5) + 0.01).sign()
    torch.testing.assert_close(seen[4], threat.project(starts[1] + down, x))


def test_default_steps_cross_the_ball():
    """Each step is 2.5 / steps of the radius, 2.5 radii in total."""
    x, threat = torch.full((1, 1, 2, 2), 0.5), ThreatModel("linf", 0.1)
    view = exact(as_defense(lambda x: torch.stack([x.flatten(1).sum(1) + 100, 0 * x.flatten(1).sum(1)], 1)))
    with seeded("across"):
        torch.testing.assert_close(PGD(loss="cw", steps=10)(view, x, torch.tensor([0]), threat), x - 0.1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_random_starts_are_uniform_in_the_ball(norm, inside):
    x, threat = torch.full((2000, 1, 1, 2), 0.5), ThreatModel(norm, 0.2)
    with seeded("start"):
        start = random_start(x, threat)
    inside(start, x, threat)
    sizes = threat.size(start - x) / 0.2
    # in two dimensions, a quarter of a uniform ball lies within half of its radius
    assert (sizes < 0.5).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert sizes.max() > 0.98
    assert (start - x).mean().abs() < 0.01


def test_fgsm_takes_one_step_of_the_radius_along_the_gradient_sign(small):
    """Compared with x + radius · sign(gradient), clipped, with the gradient from autograd on the network."""
    case, threat = small(), ThreatModel("linf", 0.02)
    leaf = case.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(case.net(leaf), case.y), leaf)
    found = fgsm()(exact(case.defense), case.x, case.y, threat)
    torch.testing.assert_close(found, (case.x + 0.02 * gradient.sign()).clamp(0, 1))


def test_mi_fgsm_accumulates_normalised_gradients():
    """Compared with the paper's recursion g ← mu·g + grad/mean|grad| for a loss with its peak inside the ball."""
    x, threat = torch.linspace(0.3, 0.7, 16).view(1, 1, 4, 4), ThreatModel("linf", 0.05)
    peak = x + torch.linspace(0.005, 0.035, 16).view(1, 1, 4, 4)

    def net(x):
        s = -((x - peak) ** 2).flatten(1).sum(1, keepdim=True) - 50.0
        return torch.cat([-s, s], 1)

    point, heading = x.clone(), torch.zeros_like(x)
    for _ in range(5):
        gradient = -4 * (point - peak)  # gradient of the margin 2 s
        heading = 0.7 * heading + gradient / gradient.abs().mean()
        point = (point + 0.01 * heading.sign()).clamp(x - 0.05, x + 0.05)
    found = mi_fgsm(loss="cw", steps=5, momentum=0.7)(exact(as_defense(net)), x, torch.tensor([0]), threat)
    torch.testing.assert_close(found, point)
    plain = mi_fgsm(loss="cw", steps=5, momentum=0.0)(exact(as_defense(net)), x, torch.tensor([0]), threat)
    assert not torch.allclose(found, plain)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"restarts": 1.5},
        {"steps": True},
        {"loss": "ced"},
        {"step": 0.0},
        {"momentum": -1.0},
        {"votes": "all"},
        {"targets": -1},
    ],
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        PGD(**wrong)


SLOPES = torch.tensor([3.0, -1.0, -1.0])


def conflicting(x):
    """Draws of images, every three of which have margins with the slopes +3, -1 and -1 in every pixel."""
    value = (SLOPES.repeat(len(x) // 3 + 1)[: len(x), None, None, None] * (x - 0.5)).flatten(1).sum(
        1, keepdim=True
    ) - 50
    return torch.cat([0 * value, value], 1)


@pytest.mark.parametrize(("votes", "moved"), [("mean", 0.1), ("sign", -0.1)])
def test_the_mean_gradient_follows_the_largest_draw_and_the_votes_the_majority(votes, moved):
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.long)
    view = exact(as_defense(conflicting, random=True), eot=3)
    look = view.look(x, y, losses.margin, signs=votes == "sign")
    expected = SLOPES.sign().mean() if votes == "sign" else SLOPES.mean()
    torch.testing.assert_close(look.gradient, expected.expand_as(x))
    found = PGD(loss="cw", steps=1, step=1.0, random=False, votes=votes)(view, x, y, ThreatModel("linf", 0.1))
    torch.testing.assert_close(found, x + moved)


@pytest.mark.parametrize("votes", ["mean", "sign"])
def test_votes_and_means_reach_the_same_corner_of_a_noisy_linear_defense(votes):
    """All draws of a·x + b·noise have gradients of the same sign (T1)."""
    with seeded("corner"):
        v = torch.randn(16)

    def noisy(x):
        value = ((0.9 * x + 0.2 * torch.randn_like(x) - 0.45).flatten(1) @ v)[:, None]
        return torch.cat([value, -value], 1)

    x, y = (0.5 + 0.05 * v).view(1, 1, 4, 4), torch.tensor([0])
    with seeded("corner"):
        found = PGD(votes=votes)(exact(as_defense(noisy, random=True), eot=4), x, y, ThreatModel("linf", 0.02))
    torch.testing.assert_close(found, x - 0.02 * v.sign().view_as(x))


def test_a_gradient_that_is_not_finite_has_no_vote_and_gives_a_warning():
    view = exact(as_defense(lambda x: torch.stack([torch.zeros(len(x)), x.sqrt().flatten(1).sum(1)], 1)))
    x = torch.tensor([0.0, 0.5]).view(1, 1, 1, 2)
    look = view.look(x, torch.tensor([0]), losses.margin, signs=True)
    assert look.gradient.flatten().tolist() == [0.0, 1.0]  # the slope of the square root at 0 is infinite
    assert view.not_finite == 1


def test_votes_are_refused_in_l2():
    view = exact(as_defense(lambda x: x.flatten(1)[:, :2]))
    with pytest.raises(PurebenchError, match="votes: expected mean in the norm l2, but got sign"):
        PGD(votes="sign")(view, torch.rand(1, 1, 2, 2), torch.tensor([0]), ThreatModel("l2", 0.1))
