"""Tests of BPDA with a learned surrogate: error of the fit, number of passes, and strength against the identity."""

import re
from types import SimpleNamespace

import pytest
import torch

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import bpda
from purebench.attacks.views.learned_backward import Imitation, bpda_learned, nearby
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)
PURIFIERS = {
    "invert": (lambda x: 1 - x, lambda x: 1 - x),
    "roll": (lambda x: x.roll(3, 2), lambda x: x.roll(-3, 2)),
    "flip": (lambda x: x.flip(3), lambda x: x.flip(3)),
}


@pytest.fixture
def purified(small):
    """purified(name, noise): a small network that inverts the purifier before it, so only gradients are lost."""

    def make(name="roll", noise=0.0, images=24):
        case, (function, undone) = small(images=images), PURIFIERS[name]

        def purifier(x):
            return function(x).detach() + noise * torch.randn_like(x)  # no exact gradient

        defense = as_defense(Defense(lambda x: case.net(undone(x)), Function(purifier, random=noise > 0)))
        return SimpleNamespace(defense=defense, x=case.x, y=case.y)

    return make


def learned(case, words="imitation", **settings):
    with seeded(words):
        return bpda_learned(case.defense, images=case.x, threat=THREAT, **settings)


@pytest.mark.parametrize("name", PURIFIERS)
def test_the_learned_surrogate_breaks_defenses_that_the_identity_does_not(purified, accuracy, name):
    case = purified(name)
    with seeded("attack"):
        naive, through = (
            PGD(steps=15)(view, case.x, case.y, THREAT) for view in (bpda(case.defense), learned(case, samples=32))
        )
    assert accuracy(case.defense, naive, case.y) >= 0.5
    assert accuracy(case.defense, through, case.y) <= 0.2


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_fit_error_is_noted_with_that_of_the_identity_and_passes_are_counted(purified, noise):
    """The lowest possible error of an imitation is the variance of the purifier's draws."""
    case = purified("invert", noise)
    view = learned(case, samples=8)
    (note,) = view.notes
    words = re.fullmatch(r"surrogate fitted: imitation error (\S+) against the identity's (\S+)", note)
    error, of_identity = map(float, words.groups())
    assert of_identity == pytest.approx(4 / 12 + noise**2, rel=0.2)  # |1 - 2x|² of uniform x
    assert error < 0.1 * of_identity + noise**2
    assert view.forwards == 24 * (8 + 1)
    assert (view.backwards, view.draws, view.decides, view.random) == (0, 1, True, noise > 0)


def test_the_forward_pass_is_the_purifier_and_the_backward_pass_the_surrogate(purified):
    case = purified("invert")
    view = learned(case)
    look = view.look(case.x, case.y, losses.cross_entropy)
    assert torch.equal(look.logits[:, 0], case.defense(case.x))
    leaf = case.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(view.purify(leaf).sum(), leaf)
    assert slope.mean().item() == pytest.approx(-1, abs=0.2)


def test_an_imitation_is_initialised_to_the_identity():
    for shape in ((1, 8, 8), (3, 5, 7)):
        x = torch.rand(4, *shape)
        assert torch.equal(Imitation(shape, 4)(x), x)


def test_images_of_any_size_and_number_of_channels_are_accepted(small):
    with seeded("shape"):
        x = torch.rand(3, 3, 6, 10)
    defense = as_defense(
        Defense(lambda x: x.flatten(1)[:, :5], Function(lambda x: x.flip(1) + 0 * x.mean(), random=False))
    )
    with seeded("shape"):
        view = bpda_learned(defense, images=x, threat=ThreatModel("l2", 0.5), steps=3, samples=2)
    assert view.purify(x).shape == x.shape


def test_without_a_purifier_gradients_equal_those_of_bpda(small):
    case = small()
    view = learned(case)
    one, other = (each.look(case.x, case.y, losses.cross_entropy) for each in (view, bpda(case.defense)))
    assert torch.equal(one.gradient, other.gradient)
    assert (view.notes, view.eot) == ([], 1)


def test_the_seed_determines_the_fit(purified):
    case = purified("roll", images=4)
    slopes = []
    for words in ("a", "a", "b"):
        view, leaf = learned(case, words, steps=5), case.x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(view.purify(leaf).square().sum(), leaf)[0])
    assert torch.equal(slopes[0], slopes[1])
    assert not torch.equal(slopes[0], slopes[2])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_nearby_points_lie_within_twice_the_radius(norm):
    with seeded("nearby"):
        images, threat = torch.rand(40, 1, 8, 8), ThreatModel(norm, 0.2)
        points = nearby(images, threat, 4).view(4, 40, 1, 8, 8)
    assert points.min() >= 0
    assert points.max() <= 1
    sizes = torch.stack([threat.size(turn - images) for turn in points]) / 0.2
    assert sizes.max() <= 2 + 1e-5
    assert sizes.amax(1).min() > 1
    assert sizes.min() < 0.3


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"samples": 0}, {"width": 1.5}])
def test_invalid_settings_are_rejected(purified, wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        learned(purified(), **wrong)
