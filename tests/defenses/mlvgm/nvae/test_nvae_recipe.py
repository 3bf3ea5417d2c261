"""Tests the loss of the NVAE recipe against the formulas that it cites."""

from __future__ import annotations

import pytest
import torch

from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.training.recipes import nvae

X = torch.randint(0, 256, (4, 1, 32, 32), generator=torch.Generator().manual_seed(0)) / 255


@pytest.fixture
def model() -> NVAE:
    with seeded("nvae"):
        return nvae.recipe.build(**nvae.recipe.architecture).train()


def test_loss_is_the_evidence_bound_per_pixel_with_a_gradient_for_every_parameter(model):
    with seeded("sample"):
        found = nvae.loss(model, X, None, 1.0)
    with seeded("sample"):
        likelihood, divergences = model.evidence(X)
    bound = (sum(divergences) - likelihood).mean() / 1024
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-5)
    found["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("share", "beta"), [(0.0, 1e-4), (0.15, 0.5)])
def test_divergence_is_scaled_and_balanced_during_warm_up(model, share, beta):
    with seeded("sample"):
        found = nvae.loss(model, X, None, share)
    with seeded("sample"):
        likelihood, divergences = model.evidence(X)
    kl = torch.stack(divergences).mean(1)
    weights = nvae.balance(kl, [2, 2, 2])
    bound = (beta * (weights * kl).sum() - likelihood.mean()) / 1024
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-5)


def test_balancing_weights_match_a_manual_calculation():
    found = nvae.balance(torch.tensor([3.0, 8.0, 16.0]), [1, 2])
    raw = [3 / 1, 8 * 2 / 4, 16 * 2 / 4]
    assert found.tolist() == pytest.approx([3 * value / sum(raw) for value in raw])
    assert float(nvae.balance(torch.zeros(2), [1, 1]).sum()) == 0
