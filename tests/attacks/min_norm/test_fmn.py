"""Tests of FMN: schedules, projection onto balls of different radii, and the number of passes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purebench.attacks.min_norm.fmn import FMN, annealed, shortened
from purebench.attacks.views.gradient_modes import exact
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


def test_annealed_follows_a_cosine_from_first_to_last():
    assert annealed(1.0, 0.01, 0, 100) == 1.0
    assert annealed(1.0, 0.01, 100, 100) == pytest.approx(0.01)
    assert annealed(1.0, 0.0, 50, 100) == pytest.approx(0.5)
    assert annealed(1.0, 0.0, 25, 100) == pytest.approx((1 + 0.5**0.5) / 2)


@given(norm=st.sampled_from(sorted(NORMS)), length=st.floats(1e-4, 5), seed=st.integers(0, 1000))
def test_each_image_is_projected_onto_the_ball_of_its_own_radius(norm, length, seed):
    """Compared with the projection of the threat model, which has a single radius."""
    with seeded("balls", str(seed)):
        x, delta = torch.rand(4, 1, 5, 5), length * torch.randn(4, 1, 5, 5)
        radius = torch.rand(4) + 0.01
    found = shortened(norm, x, delta, radius)
    for i in range(4):
        expected = ThreatModel(norm, radius[i].item()).project((x + delta)[i : i + 1], x[i : i + 1]) - x[i : i + 1]
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_more_steps_find_nearer_adversarial_examples(small, norm):
    case = small(images=30)
    median = []
    for steps in (5, 60):
        answer = FMN(steps=steps)(exact(case.defense), case.x, case.y, ThreatModel(norm, 0.1))
        distance = torch.where(answer.claims, NORMS[norm].size(answer.images - case.x), torch.inf)
        median.append(distance.median().item())
    assert median[1] < median[0]


def test_fmn_takes_one_gradient_per_step_and_thirteen_additional_forward_passes(small):
    case = small()
    view = exact(case.defense)
    assert FMN(steps=20)(view, case.x, case.y, ThreatModel("l2", 0.1)).claims.all()
    assert view.backwards == 20 * len(case.x)
    assert view.forwards == (20 + 1 + 1 + 1 + 10) * len(case.x)  # the image, the last point, confirmation, bisection


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"alpha": 0.0}, {"alpha_last": -1.0}, {"gamma": 0.0}, {"gamma": 1.0}, {"gamma_last": 2.0}],
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        FMN(**wrong)
