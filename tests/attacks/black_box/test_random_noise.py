"""Tests of random noise: it stays within the threat model, fills it, and asks the defense nothing."""

import pytest
import torch

from purebench.attacks import APGD
from purebench.attacks.black_box.random_noise import RandomNoise
from purebench.attacks.views.gradient_modes import no_gradient
from purebench.core.defense import Defense
from purebench.core.threat import ThreatModel


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.1), ("l2", 1.0), ("l1", 5.0)])
def test_noise_is_within_the_threat_model_and_far_from_the_image(norm, radius):
    threat, x = ThreatModel(norm, radius), torch.full((16, 1, 8, 8), 0.5)
    view = no_gradient(Defense(lambda images: images.flatten(1)))
    torch.manual_seed(0)
    found = RandomNoise()(view, x, torch.zeros(16, dtype=torch.long), threat)
    sizes = threat.size(found - x)
    assert (sizes <= radius * (1 + 1e-5)).all()
    assert sizes.mean() > radius / 2
    assert view.forwards == 0
    torch.manual_seed(1)
    assert not torch.equal(found, RandomNoise()(view, x, torch.zeros(16, dtype=torch.long), threat))


def test_noise_is_weaker_than_a_search_on_a_linear_model():
    weights = torch.ones(64)
    x = torch.full((32, 1, 8, 8), 0.52)
    model = Defense(lambda images: torch.stack([images.flatten(1) @ weights - 32, 32 - images.flatten(1) @ weights], 1))
    y = torch.zeros(32, dtype=torch.long)
    left = {attack: (model(attack(model, x, y, eps=0.05)).argmax(1) == y).sum() for attack in (RandomNoise(), APGD())}
    assert list(left.values()) == [32, 0]  # noise has mean 0: it moves the margin of 1.28 by 0.05 * 8 / sqrt(3) = 0.23
