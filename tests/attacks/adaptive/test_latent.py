"""Tests of the latent attack on purifiers with codes known in closed form and on the bundled hierarchical VAE."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from purebench.attacks.adaptive.latent import ALONE, Codes, Latent, directions
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense, Function, LatentPurifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.mlvgm.bundled import hvae


class Halves(LatentPurifier):
    """The first latent is the upper half of the image, kept with `share`; the second is the lower half, resampled."""

    def __init__(self, share=1.0, noise=0.0):
        super().__init__()
        self.share, self.noise, self.random = share, noise, noise > 0

    @property
    def kept(self):
        return [self.share, 0.0]

    def autoencode(self, x, mix):
        halves = x[:, :, :4], x[:, :, 4:]
        return torch.cat([mix(i, half, torch.full_like(half, 0.5)) for i, half in enumerate(halves)], 2)

    def forward(self, x):
        upper = self.share * x[:, :, :4] + (1 - self.share) * 0.5 + self.noise * torch.randn_like(x[:, :, :4])
        return torch.cat([upper, torch.full_like(x[:, :, 4:], 0.5)], 2)


class Brightness(nn.Module):
    """A classifier that predicts class 1 if the upper half is brighter than mid grey."""

    def forward(self, x):
        bright = x[:, :, :4].mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], 1)


@pytest.fixture
def halves():
    """halves(noise, share): a defense, dark images of class 0 and bright images of class 1, 0.1 from mid grey."""

    def make(noise=0.0, share=1.0):
        with seeded("halves"):
            y = torch.tensor([0, 0, 0, 1, 1, 1])
            x = 0.5 + 0.1 * (2 * y.float() - 1).view(-1, 1, 1, 1) + 0.02 * torch.randn(6, 1, 8, 8)
        return SimpleNamespace(defense=as_defense(Defense(Brightness(), Halves(share, noise))), x=x, y=y)

    return make


def run_attack(attack, view, x, y, threat, seed="latent"):
    with seeded(seed):
        return attack(view, x, y, threat)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_latent_loss_breaks_images_exactly_if_the_radius_reaches_mid_grey(halves, inside, accuracy, norm, noise):
    """The 32 pixels of the upper half are 0.1 from mid grey on average; only their mean decides the class."""
    case = halves(noise)
    distance = {"linf": 0.1, "l2": 0.1 * 32**0.5, "l1": 0.1 * 32}[norm]
    for factor, left in ((0.7, 1.0), (1.4, 0.0)):
        threat, view = ThreatModel(norm, factor * distance), exact(case.defense)
        found = run_attack(Latent(mix=0), view, case.x, case.y, threat)
        inside(found, case.x, threat)
        assert accuracy(case.defense, found, case.y, 8) == left


def test_only_kept_latents_are_perturbed(halves):
    """The codes of a resampled latent have weight zero, so its pixels keep their random start."""
    case, threat = halves(), ThreatModel("linf", 0.02)
    found = run_attack(Latent(mix=0), exact(case.defense), case.x, case.y, threat)
    moved = (found - case.x).mean((1, 3))
    towards = 1 - 2 * case.y.float()[:, None]
    torch.testing.assert_close(moved[:, :4], 0.02 * towards.expand(-1, 4))
    assert moved[:, 4:].abs().max() < 0.02


def test_code_distances_are_weighted_by_kept_share_and_latent_spread():
    """Computed by hand for latents with spreads 1 and 400, of which shares 1 and 0.25 are kept."""
    codes = [torch.tensor([[1.0], [-1.0]]), torch.tensor([[0.0, 20.0], [0.0, -20.0]])]

    class Kept(Halves):
        @property
        def kept(self):
            return [1.0, 0.25]

    flat = Codes.around(Kept(), codes)
    assert [float(scale) for scale in flat.scales] == [1.0, 400.0]
    first, second = flat(codes)
    assert (first - second).square().sum() == pytest.approx(1 * 4 / 1 + 0.25 * 1600 / 400)


def test_directions_lead_to_the_nearest_codes_of_another_class():
    own, labels = torch.tensor([[0.0], [1.0], [3.0], [10.0]]), torch.tensor([0, 0, 1, 2])
    way, some = directions(own, labels, 1)
    assert way.flatten().tolist() == [3.0, 2.0, -2.0, -7.0]
    way, some = directions(own, labels, None)
    assert way.flatten().tolist() == pytest.approx([6.5, 5.5, 11 / 3 - 3, 4 / 3 - 10])
    assert bool(some.all())
    way, some = directions(own, torch.zeros(4), None)
    assert not way.any()
    assert not some.any()


def test_without_other_classes_in_the_batch_an_image_is_pushed_away_from_its_own_codes(halves, accuracy):
    case, threat = halves(), ThreatModel("linf", 0.14)
    view = exact(case.defense)
    found = run_attack(Latent(mix=0), view, case.x[:1], case.y[:1], threat)
    assert view.notes == [ALONE]
    upper = (found - case.x[:1])[:, :, :4].abs()
    assert upper.min() == pytest.approx(0.14, abs=1e-5)  # as far from its own codes as the radius allows
    view = exact(case.defense)
    run_attack(Latent(mix=0), view, case.x, case.y, threat)
    assert view.notes == view.warnings == []


def test_with_the_classifier_loss_no_other_class_is_needed_in_the_batch(halves, accuracy):
    case, threat = halves(0.02), ThreatModel("linf", 0.14)
    found = run_attack(Latent(), exact(case.defense, eot=4), case.x[:1], case.y[:1], threat)
    assert accuracy(case.defense, found, case.y[:1], 8) == 0


def test_a_latent_step_costs_one_encoding_for_any_number_of_draws(halves):
    """Codes of the image and of 30 points; the defense is queried at the image, every 5 steps and at the end."""
    case, threat = halves(), ThreatModel("linf", 0.01)
    view = exact(case.defense)
    run_attack(Latent(mix=0, steps=30), view, case.x, case.y, threat)
    assert view.backwards == 30 * 6
    assert view.forwards == (1 + 30 + 1 + 5 + 1) * 6
    view = exact(case.defense)
    run_attack(Latent(mix=0.5, steps=10), view, case.x, case.y, threat)
    assert view.backwards == 10 * 6


def test_broken_images_are_not_attacked_further(halves):
    case, view = halves(), exact(halves().defense)
    run_attack(Latent(mix=0, steps=50), view, case.x, case.y, ThreatModel("linf", 0.3))
    assert view.backwards < 10 * 6


@pytest.mark.parametrize("purifier", [None, Function(lambda x: x, random=False)])
def test_a_defense_without_latents_is_inapplicable(halves, purifier):
    case = halves()
    with pytest.raises(Inapplicable, match="keeps no latents"):
        Latent()(exact(Defense(Brightness(), purifier)), case.x, case.y, ThreatModel("linf", 0.1))


@pytest.mark.parametrize(
    "wrong", [{"mix": -0.1}, {"mix": 1.1}, {"mix": True}, {"steps": 0}, {"targets": 0}, {"loss": "hinge"}]
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        Latent(**wrong)


def test_the_seed_determines_the_result(halves):
    case, threat = halves(0.05), ThreatModel("linf", 0.05)
    one, same, other = (
        run_attack(Latent(steps=4), exact(case.defense), case.x, case.y, threat, seed) for seed in ("a", "a", "b")
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_latent_loss_on_the_bundled_vae_is_stronger_than_noise_of_the_same_size(inside, accuracy):
    """Alone, it is weaker than gradients of the whole defense but stronger than noise of the same size."""
    images = fashion_mnist().take(range(10))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, threat = as_defense(hvae(), fashion_resnet()), ThreatModel("linf", 16 / 255)
    view = bpda(defense)
    with seeded("attack"):
        found = run_attack(Latent(mix=0, steps=15), view, x, y, threat)
    inside(found, x, threat)
    signs = threat.radius * (found - x).sign()
    noisy = [threat.project(x + signs.roll(shift, 0), x) for shift in range(1, 10)]  # of the other images
    with seeded("verify"):
        left = accuracy(defense, found, y, 72)
        of_noise = sum(accuracy(defense, points, y, 8) for points in noisy) / len(noisy)
    assert left <= of_noise - 0.15
