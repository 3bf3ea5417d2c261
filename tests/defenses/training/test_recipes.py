"""Tests the losses of the recipes against the formulas that they cite."""

from __future__ import annotations

import pytest
import torch
from torch import distributions, nn

from purebench.core import registry
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.defenses.mlvgm.hvae import HVAE
from purebench.defenses.training.recipes import classifier, diffusion, hvae, vae
from purebench.defenses.vae.plain import VAE

X = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


def test_every_recipe_is_registered_and_trains_every_parameter():
    for module in (classifier, diffusion, hvae, vae):
        recipe = module.recipe
        assert registry.factory("recipes", recipe.name)[0] is recipe
        model = recipe.build(**recipe.architecture)
        with seeded("recipe"):
            losses = recipe.loss(model, X, LABELS, 0.1)
        next(iter(losses.values())).backward()
        used = [parameter.grad is not None for parameter in model.parameters()]
        assert all(used)
        assert all(value.isfinite() for value in losses.values())


def test_classifier_loss_is_label_smoothed_cross_entropy():
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))
    target = 0.97 * nn.functional.one_hot(LABELS, 10) + 0.003
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    found = classifier.loss(lambda x: logits, X, LABELS, 0.0)
    assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx(float((logits.argmax(1) == LABELS).float().mean()))


def test_vae_loss_is_the_evidence_bound_per_pixel():
    with seeded("vae"):
        model = VAE(width=4, z=5)
        found = vae.loss(model, X, LABELS, 0.0)
    mean, logvar = model.encode(X)
    posterior = distributions.Normal(mean, (logvar / 2).exp())
    kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert float(found["kl"]) == pytest.approx(float(kl.detach()), rel=1e-4)
    # with the best variance, the Gaussian's -log p is D/2·log MSE plus a constant (sigma-VAE, eq. 10)
    bound = 0.5 * (found["mse"] + 1e-4).log() + kl / 1024
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-5)


def test_hierarchical_vae_loss_warms_up_the_divergence_and_has_free_nats():
    with seeded("hvae"):
        model = HVAE(widths=(8, 8, 8), groups=(1, 1, 1), z=2)
    found = {}
    for share in (0.0, 0.1, 0.19, 1.0):
        with seeded("sample"):
            found[share] = hvae.loss(model, X, LABELS, share)
    with seeded("sample"), torch.no_grad():
        _, error, divergences = model.evidence(X)
    charged = sum(max(float(group.mean()), hvae.FREE_NATS) for group in divergences)
    assert float(found[1.0]["kl"]) == pytest.approx(sum(float(group.mean()) for group in divergences), rel=1e-4)
    for share, weight in ((0.0, 0.05), (0.1, 0.55), (0.19, 1.0), (1.0, 1.0)):
        expected = 0.5 * float((error + hvae.FINEST).log()) + weight * charged / 1024
        assert float(found[share]["loss"].detach()) == pytest.approx(expected, rel=1e-4)


def test_diffusion_loss_is_the_squared_error_of_the_predicted_noise():
    levels = noise_levels()

    class PerfectPredictor(nn.Module):
        """Perfect noise predictor for the images X; records the requested timesteps."""

        def forward(self, state, t):
            self.times = t
            level = levels[t].view(-1, 1, 1, 1)
            return (state - level.sqrt() * (2 * X - 1)) / (1 - level).sqrt()

    model = PerfectPredictor()
    with seeded("diffusion"):
        assert float(diffusion.loss(model, X, LABELS, 0.0)["loss"]) < 1e-6
        silent = diffusion.loss(lambda state, t: torch.zeros_like(state), X, LABELS, 0.0)["loss"]
    assert float(silent) == pytest.approx(1, abs=0.08)  # four standard errors of 6,144 squares
    assert model.times.min() >= 0
    assert model.times.max() < 1000
