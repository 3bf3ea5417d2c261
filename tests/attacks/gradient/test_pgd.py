"""PGD's own parts: start, step, settings."""

import pytest
import torch

from purebench.attacks.gradient.pgd import PGD, fgsm, mi_fgsm, random_start
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


def test_each_step_is_the_share_of_the_radius_along_the_sign_of_the_gradient():
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
    assert moved == [0, -0.04, -0.08, -0.1]  # four gradients, the first at the image; the last point is unseen
    torch.testing.assert_close(found, x - 0.1)


def test_the_first_run_begins_with_the_image_s_gradient_and_later_ones_with_that_of_their_start():
    """Against the steps written out; the margin has its minimum near the image, a little darker."""
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
    torch.testing.assert_close(seen[1], threat.project(starts[0] - 0.03, x))  # at the image, downhill is darker
    assert torch.equal(seen[3], starts[1])  # seen[2] is where the first run ended
    down = -0.03 * (2 * (starts[1] - 0.5) + 0.01).sign()
    torch.testing.assert_close(seen[4], threat.project(starts[1] + down, x))


def test_the_default_steps_reach_across_the_ball():
    """2.5 / steps of the radius each: a way of 2.5 radii in all."""
    x, threat = torch.full((1, 1, 2, 2), 0.5), ThreatModel("linf", 0.1)
    view = exact(as_defense(lambda x: torch.stack([x.flatten(1).sum(1) + 100, 0 * x.flatten(1).sum(1)], 1)))
    with seeded("across"):
        torch.testing.assert_close(PGD(loss="cw", steps=10)(view, x, torch.tensor([0]), threat), x - 0.1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_random_starts_fill_the_ball(norm, inside):
    x, threat = torch.full((2000, 1, 1, 2), 0.5), ThreatModel(norm, 0.2)
    with seeded("start"):
        start = random_start(x, threat)
    inside(start, x, threat)
    sizes = threat.size(start - x) / 0.2
    # in two dimensions the share of a uniform ball within half of its radius is a quarter
    assert (sizes < 0.5).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert sizes.max() > 0.98
    assert (start - x).mean().abs() < 0.01


def test_fgsm_is_one_step_to_the_corner(small):
    """x + radius · sign(gradient), clipped; checked against autograd on the network itself."""
    case, threat = small(), ThreatModel("linf", 0.02)
    leaf = case.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(case.net(leaf), case.y), leaf)
    found = fgsm()(exact(case.defense), case.x, case.y, threat)
    torch.testing.assert_close(found, (case.x + 0.02 * gradient.sign()).clamp(0, 1))


def test_mi_fgsm_adds_up_normalised_gradients():
    """Against the paper's recursion g ← mu·g + grad/mean|grad|, written out for a loss with its peak on the way."""
    x, threat = torch.linspace(0.3, 0.7, 16).view(1, 1, 4, 4), ThreatModel("linf", 0.05)
    peak = x + torch.linspace(0.005, 0.035, 16).view(1, 1, 4, 4)

    def net(x):
        s = -((x - peak) ** 2).flatten(1).sum(1, keepdim=True) - 50.0
        return torch.cat([-s, s], 1)

    point, heading = x.clone(), torch.zeros_like(x)
    for _ in range(5):
        gradient = -4 * (point - peak)  # of the margin 2 s
        heading = 0.7 * heading + gradient / gradient.abs().mean()
        point = (point + 0.01 * heading.sign()).clamp(x - 0.05, x + 0.05)
    found = mi_fgsm(loss="cw", steps=5, momentum=0.7)(exact(as_defense(net)), x, torch.tensor([0]), threat)
    torch.testing.assert_close(found, point)
    plain = mi_fgsm(loss="cw", steps=5, momentum=0.0)(exact(as_defense(net)), x, torch.tensor([0]), threat)
    assert not torch.allclose(found, plain)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"restarts": 1.5}, {"steps": True}, {"loss": "ced"}, {"step": 0.0}, {"momentum": -1.0}]
)
def test_bad_settings(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        PGD(**wrong)
