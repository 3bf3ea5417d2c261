"""Tests purifiers at another size than the classifier's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from purebench.core.defense import Function
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.transforms.resized import Resized, resize


class Noise(nn.Module):
    def forward(self, x, t):
        return 0.5 * x


@pytest.fixture
def x():
    return torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))


def bilinear(x, size):
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


def test_identity_between_the_resizings_is_not_the_plain_image(x):
    found = Resized(Function(lambda images: images, random=False), size=16)(x)
    assert torch.equal(found, bilinear(bilinear(x, 16), 14))
    assert (found - x).abs().max() > 0.01


def test_purifier_sees_its_own_size_and_all_of_its_parts_come_back_resized(x):
    inner = DiffPure(Noise(), t=60, steps=2, surrogate="denoiser")
    outer = Resized(inner, size=16)
    large = bilinear(x, 16)
    for call in ("forward", "surrogate", "noised"):
        with seeded("resized"):
            found = getattr(outer, call)(x)
        with seeded("resized"):
            expected = resize(getattr(inner, call)(large), (14, 14))
        assert torch.equal(found, expected), call
    with seeded("resized"):
        states = outer.trace(x)
    with seeded("resized"):
        assert torch.equal(states[-1].image, outer(x))
    assert states[-1].state.shape[-1] == 16
    assert outer.random
    assert len(outer.shortened(steps=1).purifier.times) == 2


def test_gradient_passes_both_resizings(x):
    asked = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(Resized(Function(lambda h: h, random=False), size=16)(asked).sum(), asked)
    again = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(bilinear(bilinear(again, 16), 14).sum(), again)
    assert torch.allclose(found, expected)
    assert (found - 1).abs().max() > 1e-3


def test_factory_wraps_a_registered_purifier_and_nothing_else(x):
    made = create("defenses", Spec.parse("resized(purifier='gaussian-blur', size=20)"))
    assert made(x).shape == x.shape
    assert not made.random
    with pytest.raises(Inapplicable):
        made.noised(x)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(588, 2))
    spec = Spec.parse({"resized": {"purifier": {"vote": {"defense": "gaussian-noise", "draws": 2}}}})
    with pytest.raises(PurebenchError, match="vote is a whole defense"):
        create("defenses", spec, classifier=classifier)
    with pytest.raises(PurebenchError, match="expected a whole size from 1"):
        Resized(Function(lambda h: h, random=False), size=0)
