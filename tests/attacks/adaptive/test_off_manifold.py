"""Tests of the off-manifold attack with closed-form optima, and of the ascent it shares with the latent attack."""

import pytest
import torch
from torch import nn

from purebench.attacks.adaptive.off_manifold import L1_SHARE, OffManifold, climb, heading
from purebench.attacks.views.gradient_modes import blind, exact, no_gradient
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.vae.plain import vae


def run_attack(attack, view, x, y, threat, seed="off-manifold"):
    with seeded(seed):
        return attack(view, x, y, threat)


class GradientRecorder(nn.Module):
    """A classifier that records whether it is called with gradients enabled."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.asked = inner, False

    def forward(self, x):
        self.asked |= torch.is_grad_enabled() and x.requires_grad
        return self.inner(x)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_off_manifold_maximises_the_change_of_the_purifier_output(small, inside, noise):
    """The purifier multiplies the difference from mid grey by 3, so the optimal perturbation is known.

    |3 (x' - 0.5) + 0.5 - x|² = |2 (x - 0.5) + 3 d|² is largest for d = radius · sign(x - 0.5).
    """
    case, threat = small(), ThreatModel("linf", 0.05)
    x = 0.5 + 0.2 * (case.x - 0.5)

    def stretch(x):
        return 3 * (x - 0.5) + 0.5 + noise * torch.randn_like(x)

    settled = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).requires_grad_(False)
    settled[1].weight.zero_()
    settled[1].bias.copy_(torch.tensor([1.0, 0, 0, 0, 0]))  # cannot be broken, so every step is taken
    view = exact(as_defense(Defense(settled, Function(stretch, random=noise > 0))), eot=2)
    found = run_attack(OffManifold(), view, x, torch.zeros(12, dtype=torch.long), threat)
    inside(found, x, threat)
    clear = (x - 0.5).abs() > 0.09  # so far from mid grey that the random start does not decide the sign
    assert clear.any()
    torch.testing.assert_close((found - x)[clear], 0.05 * (x - 0.5).sign()[clear])


def test_the_classifier_is_queried_without_gradients(small):
    case, threat = small(), ThreatModel("linf", 0.1)
    recorder = GradientRecorder(case.net)
    defense = as_defense(Defense(recorder, Function(lambda x: x.square(), random=False)))
    view = exact(defense)
    run_attack(OffManifold(steps=10), view, case.x, defense(case.x).argmax(1), threat)
    assert not recorder.asked
    assert view.backwards > 0


def test_passes_of_all_draws_are_counted(small):
    case = small()
    noisy = Function(lambda x: 0.3 * x + 0.1 * torch.randn_like(x), random=True)
    view = exact(as_defense(Defense(lambda x: torch.tensor([[0.0, 1.0]]).repeat(len(x), 1), noisy)), eot=3)
    run_attack(OffManifold(steps=4), view, case.x, torch.ones(12, dtype=torch.long), ThreatModel("l2", 0.5))
    assert view.backwards == 4 * 3 * 12
    assert view.forwards >= 5 * 3 * 12


def test_broken_images_are_not_attacked_further(small):
    case = small()
    defense = as_defense(Defense(case.net, Function(lambda x: 1 - x, random=False)))
    view = exact(defense)
    wrong = (defense(case.x).argmax(1) + 1) % 5
    found = run_attack(OffManifold(), view, case.x, wrong, ThreatModel("linf", 0.1))
    assert torch.equal(found, case.x)
    assert view.backwards == 0


def test_defenses_without_a_differentiable_purifier_are_rejected(small):
    case, threat = small(), ThreatModel("linf", 0.1)
    purified = Defense(case.net, Function(lambda x: x.square(), random=False))
    with pytest.raises(Inapplicable, match="no purifier"):
        OffManifold()(exact(case.defense), case.x, case.y, threat)
    with pytest.raises(PurebenchError, match="use exact or bpda"):
        OffManifold()(blind(purified), case.x, case.y, threat)
    with pytest.raises(PurebenchError, match="a gradient at the image, but none arrives"):
        OffManifold()(no_gradient(purified), case.x, purified(case.x).argmax(1), threat)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 1.5}])
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        OffManifold(**wrong)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_heading_has_norm_one_and_positive_slope(norm):
    with seeded("heading"):
        gradient = torch.randn(7, 1, 8, 8)
    gradient[6] = 0
    way = heading(gradient, torch.full_like(gradient, 0.5), ThreatModel(norm, 0.1))
    assert ThreatModel(norm, 0.1).size(way)[:6].tolist() == pytest.approx([1.0] * 6, abs=1e-5)
    assert (way * gradient).flatten(1).sum(1)[:6].min() > 0
    assert not way[6].any()
    if norm == "l1":
        assert way[0].count_nonzero() == round(64 * L1_SHARE) + 1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_climb_reaches_the_maximum_of_a_linear_function(norm, inside):
    """The maximum of a linear function on the ball is radius · dual norm of its slope."""
    with seeded("climb"):
        slope, x = torch.randn(1, 1, 8, 8), 0.5 + 0.01 * torch.randn(3, 1, 8, 8)
    threat = ThreatModel(norm, {"linf": 0.1, "l2": 0.5, "l1": 0.4}[norm])
    view = exact(as_defense(lambda x: torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)))
    with seeded("climb"):
        found = climb(
            view,
            x,
            torch.zeros(3, dtype=torch.long),
            threat,
            lambda k, index, points: (slope.expand_as(points), None),
            steps=60,
            restarts=1,
        )
    inside(found, x, threat)
    dual = {"linf": slope.abs().sum(), "l2": slope.norm(), "l1": slope.abs().amax()}[norm]
    risen = ((found - x) * slope).flatten(1).sum(1)
    assert (risen / (threat.radius * dual)).min() >= {"linf": 0.999, "l2": 0.99, "l1": 0.75}[norm]


def test_off_manifold_changes_the_bundled_vae_output_more_than_random_signs(inside):
    """The output moves farther from the image than for random signs of the same size."""
    images = fashion_mnist().take(range(10))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, threat = as_defense(vae(), fashion_resnet()), ThreatModel("linf", 16 / 255)

    @torch.no_grad()
    def far(points):
        return (defense.purify(points) - x).flatten(1).square().sum(1)

    view = exact(defense)
    found = run_attack(OffManifold(steps=15), view, x, y, threat)
    inside(found, x, threat)
    with seeded("signs"):
        noisy = threat.project(x + threat.radius * torch.randn_like(x).sign(), x)
    held = defense(found).argmax(1) == y  # for the others, the attack stopped at the first wrong answer
    assert held.any()
    ratio = (far(found) - far(x))[held] / (far(noisy) - far(x))[held].abs()
    assert ratio.min() > 1.5
