"""Tests the recipes of Defense-VAE, PuVAE and the energy: losses against formulas, and training attacks."""

from __future__ import annotations

import pytest
import torch
from torch import distributions, nn

from purebench.core import registry
from purebench.core.seeds import seeded
from purebench.data.datasets import fashion_mnist
from purebench.defenses.checkpoints import load
from purebench.defenses.ebm.langevin import Energy
from purebench.defenses.training.recipes import attacked, defense_vae, ebm, puvae
from purebench.defenses.vae.plain import VAE
from purebench.defenses.vae.puvae import ClassVAE

DATA = fashion_mnist().take(range(20))
X, LABELS = torch.as_tensor(DATA.floats()), torch.as_tensor(DATA.labels)
CPU = torch.device("cpu")


def test_every_recipe_is_registered_and_trains_every_parameter():
    for module in (defense_vae, puvae, ebm):
        recipe = module.recipe
        assert registry.factory("recipes", recipe.name)[0] is recipe
        model = recipe.build(**recipe.architecture)
        with seeded("recipe"):
            losses = recipe.loss(model, X, LABELS, 0.1)
        next(iter(losses.values())).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert all(value.isfinite() for value in losses.values())
        assert sum(parameter.numel() for parameter in model.parameters()) <= 1e6


def test_each_attack_stays_within_its_bound_and_reduces_the_accuracy():
    with torch.no_grad():
        clean = (attacked.source_classifier(CPU)(X).argmax(1) == LABELS).float().mean()
    for name, attack in attacked.ATTACKS.items():
        with seeded(name):
            found = attack(X, LABELS, 0.5)
        assert found.min() >= 0
        assert found.max() <= 1
        delta = found - X
        if name in ("rand-fgsm", "pgd"):
            assert delta.abs().max() <= 0.5 * attacked.LINF + 1e-6
        if name == "cw-l2":
            assert delta.flatten(1).norm(dim=1).max() <= 0.5 * attacked.L2 + 1e-5
        with torch.no_grad():
            left = (attacked.source_classifier(CPU)(found).argmax(1) == LABELS).float().mean()
        assert left <= clean - 0.3 if name in ("rand-fgsm", "pgd", "cw-l2") else left <= clean


def test_attacked_batch_keeps_the_first_images_and_changes_all_others():
    with seeded("batch"):
        found = attacked.attacked(X, LABELS)
    changed = (found != X).flatten(1).any(1)
    assert not changed[:4].any()
    assert changed[4:].all()
    assert not attacked.source_classifier(CPU).training


def test_margin_is_the_best_other_logit_minus_that_of_the_label():
    logits = torch.tensor([[1.0, 3.0, 2.0], [9.0, 0.0, 1.0]])
    assert float(attacked.margin(logits, torch.tensor([1, 0]))) == -1 - 8
    assert float(attacked.margin(logits, torch.tensor([2, 1]))) == 1 + 5  # a margin above 5 counts as 5


def test_defense_vae_loss_encodes_the_attacked_image_and_reconstructs_the_clean_one():
    class Watched(VAE):
        def encode(self, x):
            self.seen = x
            return super().encode(x)

    with seeded("model"):
        model = Watched(width=4, z=5)
    with seeded("loss"):
        found = defense_vae.loss(model, X, LABELS, 0.0)
    with seeded("loss"):
        assert torch.equal(model.seen, attacked.attacked(X, LABELS))
        mean, logvar = VAE.encode(model, model.seen)
        error = (model.decode(mean + (logvar / 2).exp() * torch.randn_like(mean)) - X).square().mean()
    kl = distributions.kl_divergence(distributions.Normal(mean, (logvar / 2).exp()), distributions.Normal(0.0, 1.0))
    bound = 0.5 * (error + 1e-4).log() + kl.sum(1).mean() / 1024
    assert float(found["mse"]) == pytest.approx(float(error.detach()), rel=1e-5)
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-4)


def test_defense_vae_starts_with_the_weights_of_the_plain_vae():
    built = defense_vae.begun(defense_vae.recipe.build(**defense_vae.recipe.architecture))
    plain = load("fashion-vae", "vae", VAE)
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), plain.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in built.parameters())


def test_puvae_loss_conditions_on_the_class_and_adds_the_loss_of_the_classifier():
    with seeded("model"):
        model = ClassVAE(width=4, z=5)
    with seeded("loss"):
        found = puvae.loss(model, X, LABELS, 0.0)
    condition = nn.functional.one_hot(LABELS, 10).float()
    mean, logvar = model.encode(model.features(2 * X - 1), condition)
    with seeded("loss"):
        again = model.decode(mean + (logvar / 2).exp() * torch.randn_like(mean), condition)
    kl = distributions.kl_divergence(distributions.Normal(mean, (logvar / 2).exp()), distributions.Normal(0.0, 1.0))
    seen = nn.functional.cross_entropy(attacked.source_classifier(CPU)(again), LABELS)
    error = (again - X).square().mean()
    bound = 0.5 * (error + 1e-4).log() + puvae.BETA * kl.sum(1).mean() / 1024 + puvae.SEEN * seen
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-4)


def test_chains_contract_noise_towards_the_minimum_of_the_energy():
    """With the energy k·|x - image|²/2, a share of (1 - rate·k)ⁿ of the noise is left after n steps."""

    class QuadraticEnergy(nn.Module):
        def forward(self, x):
            return 0.3 * (x - X).square().flatten(1).sum(1) / 2

    with seeded("chains"):
        ends = ebm.chains(QuadraticEnergy(), X)
    with seeded("chains"):
        deviation = ebm.NOISE * torch.rand(len(X), 1, 1, 1)
        noise = deviation * torch.randn_like(X)
    left = (1 - 0.3 * ebm.RATE) ** ebm.STEPS
    own = (2 * ebm.RATE * ebm.TEMPERATURE / (1 - 0.7**2)) ** 0.5  # the stationary deviation of the chains' own noise
    assert (ends - X - left * noise).abs().max() < 6 * own
    assert not ends.requires_grad


def test_energy_loss_contrasts_images_with_the_ends_of_chains():
    with seeded("model"):
        model = Energy(widths=(4, 4, 4))
    with seeded("loss"):
        found = ebm.loss(model, X, LABELS, 0.0)
    with seeded("loss"), torch.no_grad():
        ends = ebm.chains(model, X)
        low = model(X + (2 * ebm.RATE * ebm.TEMPERATURE) ** 0.5 * torch.randn_like(X))
        high = model(ends)
        expected = low.mean() - high.mean() + ebm.SIZE * (low.square() + high.square()).mean()
    assert float(found["loss"].detach()) == pytest.approx(float(expected), rel=1e-3, abs=1e-5)
    assert all(parameter.requires_grad for parameter in model.parameters())
