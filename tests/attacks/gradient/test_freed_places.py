"""Tests that the places of broken images in a device batch are used by the images that are still attacked."""

import pytest
import torch

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.threat import ThreatModel

STEPS = 6


@pytest.mark.parametrize("attack", [PGD(steps=STEPS, random=False), APGD(steps=STEPS)], ids=["pgd", "apgd"])
def test_a_deterministic_defense_is_called_with_full_batches_of_the_images_that_are_left(attack):
    """Of eight images, every other one breaks at the first step; the rest fill one batch of four instead of two."""
    sizes = []

    def classifier(x):
        sizes.append(len(x))
        margin = x.flatten(1).mean(1) - 0.5
        return torch.stack([margin, -margin], 1)

    x = torch.tensor([0.5001, 0.9] * 4).view(8, 1, 1, 1).expand(8, 1, 2, 2).contiguous()
    view = exact(as_defense(classifier))
    view.batch.size = 4
    attack(view, x, torch.zeros(8, dtype=torch.long), ThreatModel("linf", 0.1))
    assert sizes[:2] == [4, 4]
    assert sizes[-1] == 4
    assert len(sizes) < 2 * (STEPS + 1)  # the calls if no place were freed
    assert sum(sizes) < 8 * STEPS
