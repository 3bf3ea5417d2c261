"""Tests of the gradient modes and of EOT against the definition of each gradient."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from purebench.attacks.adaptive.off_manifold import OffManifold
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import blind, bpda, exact
from purebench.attacks.views.learned_backward import bpda_learned
from purebench.core.defense import Defense, Function, Purifier, as_defense
from purebench.core.errors import Inapplicable
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.defenses.transforms.simple import Quantise

LOSS = losses.cross_entropy


def test_eot_gradient_is_the_mean_of_single_draws_under_the_same_noise(small):
    case, draws = small(noise=0.3, images=3), 8
    with seeded("noise"):
        together = exact(case.defense, eot=draws).look(case.x, case.y, LOSS)
    with seeded("noise"):  # the same noise, in the order of the draws in the pass
        noise = case.defense.classifier.sigma * torch.randn(3, draws, 1, 8, 8)
    single = [exact(as_defense(case.net)).look(case.x + noise[:, k], case.y, LOSS) for k in range(draws)]
    expected = torch.stack([look.gradient for look in single]).mean(0)
    torch.testing.assert_close(together.gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.loss, torch.stack([look.loss for look in single]).mean(0))
    torch.testing.assert_close(together.logits, torch.stack([look.logits[:, 0] for look in single], 1))


def test_eot_gradient_converges_to_the_smoothed_gradient_at_the_monte_carlo_rate(small):
    """The error of a mean of n draws falls as n^(-1/2): the slope of log error against log n is -0.5."""
    case = small(noise=0.3, images=6)

    def gradient(draws, seed):
        with seeded("rate", str(draws), str(seed)):
            return exact(case.defense, eot=draws).look(case.x, case.y, LOSS).gradient.double()

    smoothed = torch.stack([gradient(4096, seed) for seed in range(4)]).mean(0)
    counts = [1, 4, 16, 64, 256]
    errors = [np.mean([(gradient(n, seed) - smoothed).square().sum().item() for seed in range(10)]) for n in counts]
    slope, _ = np.polyfit(np.log(counts), 0.5 * np.log(errors), 1)
    assert slope == pytest.approx(-0.5, abs=0.1)


def test_a_deterministic_defense_gets_one_draw(small):
    case = small()
    view = exact(case.defense, eot=16)
    assert view.look(case.x, case.y, LOSS).logits.shape == (12, 1, 5)
    assert view.scores(case.x, 7).shape == (12, 1, 5)
    assert (view.forwards, view.backwards) == (24, 12)


def test_draws_are_independent_and_counted(small):
    case = small(noise=0.3)
    view = exact(case.defense, eot=3)
    with seeded("draws"):
        logits = view.look(case.x, case.y, LOSS).logits
        assert view.scores(case.x, 5).shape == (12, 5, 5)
    assert not torch.equal(logits[:, 0], logits[:, 1])
    assert (view.forwards, view.backwards) == (12 * 3 + 12 * 5, 12 * 3)


def smooth(x):
    return x.square()


def surrogate(x):
    return 0.7 * x.square() + 0.1


def test_bpda_uses_the_purifier_forward_and_its_surrogate_backward(small):
    net = small().net
    x, y = small().x, small().y
    defense = as_defense(Defense(net, Function(smooth, random=False, surrogate=surrogate)))
    look = bpda(defense).look(x, y, LOSS)
    assert torch.equal(look.logits[:, 0], defense(x))  # bitwise equal
    purified = smooth(x).requires_grad_()
    (at_purified,) = torch.autograd.grad(LOSS(net(purified), y).sum(), purified)
    torch.testing.assert_close(look.gradient, at_purified * 1.4 * x)  # chain rule: the surrogate's slope is 1.4 x


def test_exact_differentiates_the_purifier(small):
    case = small()
    defense = as_defense(Defense(case.net, Function(smooth, random=False, surrogate=surrogate)))
    leaf = case.x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(LOSS(defense(leaf), case.y).sum(), leaf)
    torch.testing.assert_close(exact(defense).look(case.x, case.y, LOSS).gradient, expected)


def test_bpda_without_a_purifier_equals_exact(small):
    case = small()
    one, other = (make(case.defense).look(case.x, case.y, LOSS) for make in (bpda, exact))
    assert torch.equal(one.gradient, other.gradient)


def test_blind_uses_only_the_classifier(small):
    case = small()

    def forbidden(x):
        raise AssertionError("the purifier was queried")

    view = blind(Defense(case.net, Function(forbidden, random=True)), eot=4)
    look = view.look(case.x, case.y, LOSS)
    assert torch.equal(look.logits[:, 0], case.net(case.x))
    assert not view.random
    assert not view.decides  # the classifier's errors are not the defense's
    assert blind(case.defense).decides


def test_bpda_breaks_a_quantised_defense_and_exact_gradients_do_not(small, accuracy):
    """Rounding to 8 levels has zero gradient; with the identity as the surrogate the attack succeeds."""
    case = small(images=40)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    threat, attack = ThreatModel("linf", 0.1), PGD(steps=20, random=False)
    assert exact(defense).look(case.x, y, LOSS).gradient.abs().max() == 0
    with seeded("quantise"):
        naive = attack(exact(defense), case.x, y, threat)
        through = attack(bpda(defense), case.x, y, threat)
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


class Enlarge(Purifier):
    """Doubles the size of images, without a gradient of its own."""

    random, differentiable, resizes = False, False, True

    def forward(self, x):
        return functional.interpolate(x.detach(), scale_factor=2.0)


def test_bpda_of_a_purifier_that_resizes_interpolates_in_the_backward_pass():
    with seeded("resizes"):
        weights, x = torch.randn(4, 1, 8, 8), torch.rand(3, 1, 4, 4)
    y, enlarged = torch.tensor([0, 1, 2]), Enlarge()(x)
    classifier = as_defense(lambda images: images.flatten(1) @ weights.flatten(1).T).classifier
    look = bpda(Defense(classifier, Enlarge())).look(x, y, LOSS)
    assert torch.equal(look.logits[:, 0], classifier(enlarged))
    larger = x.clone().requires_grad_()
    stand_in = functional.interpolate(larger, (8, 8), mode="bilinear")
    through = enlarged + (stand_in - stand_in.detach())
    functional.cross_entropy(classifier(through), y, reduction="sum").backward()
    torch.testing.assert_close(look.gradient, larger.grad)


def test_what_needs_images_of_one_size_does_not_apply_to_a_purifier_that_resizes():
    defense, x = Defense(lambda images: images.flatten(1)[:, :2], Enlarge()), torch.rand(3, 1, 4, 4)
    threat = ThreatModel("linf", 0.1)
    with pytest.raises(Inapplicable, match="keep the size"):
        bpda_learned(defense, images=x, threat=threat)
    with pytest.raises(Inapplicable, match="another size"):
        OffManifold()(bpda(defense), x, torch.zeros(3, dtype=torch.long), threat)
