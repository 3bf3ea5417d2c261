"""Tests that the places of broken images in a device batch are used by the images that are still attacked."""

import pytest
import torch

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import Defense, as_defense, frozen
from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel

STEPS, LINF = 6, ThreatModel("linf", 0.1)


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
    attack(view, x, torch.zeros(8, dtype=torch.long), LINF)
    assert sizes[:2] == [4, 4]
    assert sizes[-1] == 4
    assert len(sizes) < 2 * (STEPS + 1)  # the calls if no place were freed
    assert sum(sizes) < 8 * STEPS


@pytest.mark.parametrize("size", [None, 4])
def test_a_frozen_defense_whose_noise_depends_on_the_layout_of_the_batch_is_refused(size):
    """With size=1 an attack reaches the optimum of the noise that all images have."""

    def noisy(x):
        brightness = (x + 0.2 * torch.randn_like(x)).flatten(1).mean(1)
        return torch.stack([brightness, torch.full_like(brightness, 0.5)], 1)

    model = Defense(noisy, random=True)
    x = torch.linspace(0.4, 0.8, 32).view(32, 1, 1, 1).expand(32, 1, 2, 2).contiguous()
    with pytest.raises(PurebenchError, match=f"got size={size}; use .* size=1"):
        APGD(steps=STEPS)(exact(frozen(model, size=size)), x, torch.zeros(32, dtype=torch.long), LINF)
    known = frozen(model, size=1)
    clean = known(x)
    y = clean.argmax(1)
    found = APGD(steps=STEPS)(exact(known), x, y, LINF)
    margin = (clean[:, 0] - clean[:, 1]) * (1 - 2 * y)
    assert (known(found).argmax(1) == y).tolist() == (margin > LINF.radius).tolist()
    assert 0 < int((margin > LINF.radius).sum()) < 32
