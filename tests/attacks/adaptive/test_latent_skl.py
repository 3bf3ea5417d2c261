"""Tests of the attack on posteriors, on linear-Gaussian VAEs whose optimal perturbations are known (PPCA)."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from purebench.attacks.adaptive.latent import Latent
from purebench.attacks.adaptive.latent_skl import LatentSKL, symmetric_divergence
from purebench.attacks.adaptive.off_manifold import climb
from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import exact
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense, Function, GaussianEncoder, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.mlvgm.bundled import hvae, nvae, stylegan
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.vae.plain import vae

PIXELS = 9


class Linear(GaussianEncoder):
    """Posteriors N(A_i (x - 0.5), S_i) with constant variances S_i; the image itself is returned."""

    random = False

    def __init__(self, matrices, variances, kept):
        super().__init__()
        self.matrices, self.variances, self.shares = matrices, variances, kept

    @property
    def kept(self):
        return self.shares

    def posteriors(self, x):
        means = [(x - 0.5).flatten(1) @ matrix.T for matrix in self.matrices]
        return [(mean, each.expand_as(mean)) for mean, each in zip(means, self.variances, strict=True)]

    def forward(self, x):
        return x


@pytest.fixture
def ppca():
    """ppca(kept): a linear VAE with two latents, and sum_i kept_i ½ |S_i^-½ A_i d|² as ½ d·H·d.

    The classifier's margin is the divergence minus 1000, so that restarts compete by it, and no image is ever broken.
    """

    def make(kept):
        with seeded("ppca"):
            matrices, variances = [torch.randn(3, PIXELS) for _ in kept], [0.1 + torch.rand(3) for _ in kept]
        form = sum(share * a.T @ torch.diag(1 / s) @ a for share, a, s in zip(kept, matrices, variances, strict=True))

        def classifier(x):
            moved = (x - 0.5).flatten(1)
            value = 0.5 * ((moved @ form) * moved).sum(1) - 1000
            return torch.stack([0 * value, value], 1)

        defense = as_defense(Defense(classifier, Linear(matrices, variances, kept)))
        x, y = torch.full((8, 1, 3, 3), 0.5), torch.zeros(8, dtype=torch.long)
        return SimpleNamespace(defense=defense, form=form, x=x, y=y, value=lambda d: 0.5 * ((d @ form) * d).sum(1))

    return make


def attacked(case, attack, threat):
    with seeded("skl"):
        found = attack(exact(case.defense), case.x, case.y, threat)
    return found, (found - case.x).flatten(1)


def test_the_symmetric_divergence_is_the_mean_of_both_divergences():
    """Compared with the divergences of torch.distributions."""
    with seeded("divergence"):
        mean, other = torch.randn(2, 5, 3, 4)
        variance, other_variance = torch.rand(2, 5, 3, 4) + 0.1
    one = Independent(Normal(mean, variance.sqrt()), 2)
    two = Independent(Normal(other, other_variance.sqrt()), 2)
    expected = (kl_divergence(one, two) + kl_divergence(two, one)) / 2
    torch.testing.assert_close(symmetric_divergence(mean, variance, other, other_variance), expected)


@pytest.mark.parametrize("kept", [[1.0, 1.0], [1.0, 0.05], [0.05, 1.0], [0.3, 0.0]])
def test_in_l2_the_perturbation_is_the_top_singular_vector(ppca, inside, kept):
    """The optimum has the value ½ radius² · (largest singular value of the stacked sqrt(kept_i) S_i^-½ A_i)²."""
    case, threat = ppca(kept), ThreatModel("l2", 0.2)
    found, delta = attacked(case, LatentSKL(mix=0), threat)
    inside(found, case.x, threat)
    most, vectors = torch.linalg.eigh(case.form)
    assert (case.value(delta) >= 0.99 * 0.5 * 0.2**2 * most[-1]).all()
    assert ((delta @ vectors[:, -1]).abs() >= 0.98 * 0.2).all()


@pytest.mark.parametrize("kept", [[1.0, 1.0], [0.3, 0.0]])
def test_in_linf_the_perturbation_is_the_best_corner(ppca, kept):
    case = ppca(kept)
    _, delta = attacked(case, LatentSKL(mix=0, restarts=6), ThreatModel("linf", 0.1))
    corners = 0.1 * torch.tensor(list(product((-1.0, 1.0), repeat=PIXELS)))
    assert (case.value(delta) >= 0.999 * case.value(corners).max()).float().mean() >= 0.7  # others stay at a local one
    assert (case.value(delta) >= 0.8 * case.value(corners).max()).all()


def test_a_resampled_latent_has_no_gradient(ppca):
    """Its variance may even be so small that its divergence would rule the objective."""
    case = ppca([1.0, 0.0])
    purifier = case.defense.purifier
    purifier.variances[1].fill_(1e-30)
    _, delta = attacked(case, LatentSKL(mix=0), ThreatModel("l2", 0.2))
    alone = purifier.matrices[0].T @ torch.diag(1 / purifier.variances[0]) @ purifier.matrices[0]
    assert (0.5 * ((delta @ alone) * delta).sum(1) >= 0.99 * 0.5 * 0.04 * torch.linalg.eigvalsh(alone)[-1]).all()


def test_a_step_costs_one_encoding_and_the_last_steps_follow_the_loss(ppca):
    case, threat = ppca([1.0, 1.0]), ThreatModel("l2", 0.2)
    view = exact(case.defense)
    LatentSKL(mix=0, steps=12)(view, case.x, case.y, threat)
    assert view.backwards == 12 * 8
    assert view.forwards == (1 + 1 + 12 + 2 + 1) * 8  # the image, its posteriors, steps, every 5 steps, the end
    assert view.looked == 12 * 8  # the gradients of the divergence are checked too
    view = exact(case.defense)
    LatentSKL(mix=0.25, steps=12)(view, case.x, case.y, threat)
    assert view.looked == 12 * 8
    assert view.forwards == (1 + 1 + 12 + 1 + 1) * 8


class Halves(MLVGM):
    """An exact autoencoder: its two latents are the upper and the lower half of the image."""

    latents = 2

    def posteriors(self, x):
        return [(half, torch.full_like(half, 0.01)) for half in x.chunk(2, 2)]

    def autoencode(self, x, mix):
        return torch.cat(
            [mix(number, half, 0.5 * torch.ones_like(half)) for number, half in enumerate(x.chunk(2, 2))], 2
        )


@pytest.mark.parametrize("attack", [LatentSKL, Latent])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.05), ThreatModel("l2", 0.5)], ids=["linf", "l2"])
def test_on_an_exact_autoencoder_that_keeps_everything_it_is_the_climb_of_the_classifier(small, attack, threat):
    """With mix=1 and alpha=0, bit for bit: the halves are copied, and no random number is drawn on the way.

    The purifier does not clamp, because a clamp has no gradient at values of exactly 0 and 1.
    """
    case = small()

    def points(alphas):
        purifier = MLVGMPurifier(Halves(), schedule=alphas, attenuation=1.0, clamp=False)
        view = exact(as_defense(purifier, case.net))
        with seeded("climb"):
            return attack(mix=1, steps=8, restarts=2)(view, case.x, case.y, threat)

    bare = exact(as_defense(Defense(case.net)))

    def uphill(_, index, images):
        look = bare.look(images, case.y[index], losses.find("ce"))
        return look.gradient, look.logits

    with seeded("climb"):
        expected = climb(bare, case.x, case.y, threat, uphill, steps=8, restarts=2)
    assert torch.equal(points([0.0, 0.0]), expected)
    assert not torch.equal(points([0.0, 0.3]), expected)
    assert (expected != case.x).flatten(1).any(1).sum() >= 6


@pytest.mark.parametrize("purifier", [None, Function(lambda x: x, random=False), Linear([], [], [])])
def test_a_defense_without_posteriors_is_inapplicable(ppca, purifier):
    case = ppca([1.0])
    view = exact(Defense(case.defense.classifier, purifier))
    with pytest.raises(Inapplicable, match=r"no encoder that gives distributions|keeps no part of any latent"):
        LatentSKL()(view, case.x, case.y, ThreatModel("l2", 0.1))


def test_a_stylegan_is_inapplicable_because_its_encoder_has_no_variances():
    images = torch.as_tensor(fashion_mnist().take(range(2)).floats())
    view = exact(as_defense(stylegan(), fashion_resnet()))
    with pytest.raises(Inapplicable, match="codes without variances"):
        LatentSKL()(view, images, torch.zeros(2, dtype=torch.long), ThreatModel("linf", 0.1))


@pytest.mark.parametrize("make", [hvae, nvae, vae])
def test_the_bundled_vaes_can_be_attacked(make, inside):
    """The divergence of the result is larger than that of noise of the same size."""
    images = fashion_mnist().take(range(2))
    x, y = torch.as_tensor(images.floats()), torch.as_tensor(images.labels)
    defense, threat = as_defense(make(), fashion_resnet()), ThreatModel("linf", 0.02)
    purifier = defense.purifier

    def divergence(points):
        levels = zip(purifier.kept, purifier.posteriors(points), purifier.posteriors(x), strict=True)
        return sum(share * symmetric_divergence(*there, *here) for share, there, here in levels)

    with seeded("bundled"):
        found = LatentSKL(mix=0, steps=3)(exact(defense), x, y, threat)
        noise = threat.project(x + 0.02 * (torch.rand_like(x) - 0.5).sign(), x)
    inside(found, x, threat)
    with torch.no_grad():
        assert (divergence(found) > 2 * divergence(noise)).all()
        assert (divergence(x) < 1e-3).all()


@pytest.mark.parametrize("wrong", [{"mix": -0.1}, {"steps": 0}, {"restarts": 0}, {"loss": "hinge"}])
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        LatentSKL(**wrong)
