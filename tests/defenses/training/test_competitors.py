"""Tests the recipes of A-VAE and ND-VAE: losses against the cited formulas, and short training runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions, nn

from purebench.core import registry
from purebench.core.seeds import seeded
from purebench.data.datasets import ImageSet
from purebench.defenses import checkpoints
from purebench.defenses.training.loop import train
from purebench.defenses.training.recipes import a_vae, nd_vae
from purebench.defenses.training.recipes.adversarial import Critic, WithCritic
from purebench.defenses.vae.a_vae.network import AVAE
from purebench.defenses.vae.nd_vae.network import NDVAE

CPU = torch.device("cpu")
X = torch.randint(0, 256, (6, 1, 32, 32), generator=torch.Generator().manual_seed(0)) / 255
LABELS = torch.arange(6)
SMALL = {
    "fashion-a-vae": {"size": 32, "inside": 16, "colours": 1, "width": 8},
    "fashion-nd-vae": {"colours": 1, "width": 4, "groups": 1, "cells": 1, "mixtures": 2, "side": 4},
}
RECIPES = {module.recipe.name: module.recipe for module in (a_vae, nd_vae)}


class Linear(nn.Module):
    """Linear classifier with the logits (w·x, 0), [N,2]."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        first = (x * self.weights).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_registered_and_trains_every_parameter(name):
    recipe = RECIPES[name]
    assert registry.factory("recipes", name)[0] is recipe
    with seeded("recipe"):
        model = recipe.build(**json.loads(json.dumps(recipe.architecture)))
        assert sum(parameter.numel() for parameter in model.parameters()) <= 1_000_000
        model = (recipe.around(model) if recipe.around else model).train()
        losses = recipe.loss(model, X, LABELS, 0.1)
    next(iter(losses.values())).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(value.isfinite() for value in losses.values())


def test_divergence_in_a_vae_recipe_agrees_with_torch_distributions():
    generator = torch.Generator().manual_seed(1)
    mean, logvar = torch.randn(2, 4, 8, 2, 2, generator=generator)
    exact = distributions.kl_divergence(
        distributions.Normal(mean, (logvar / 2).exp()), distributions.Normal(torch.zeros(()), torch.ones(()))
    )
    assert float(a_vae.divergence(mean, logvar)) == pytest.approx(float(exact.mean()), rel=1e-5)


def test_critic_loss_of_a_linear_critic_is_that_of_wgan_gp():
    """The gradient of w·x is w at every point between real and generated images."""
    weights = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(2)) / 50
    fake = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(3))

    def critic(x):
        return (x * weights).flatten(1).sum(1), []

    real_answer, fake_answer = critic(X)[0], critic(fake)[0]
    expected = fake_answer.mean() - real_answer.mean() + 1e-3 * real_answer.square().mean()
    expected = expected + 10 * (weights.norm() - 1).square()
    assert float(a_vae.critic_loss(critic, X, fake)) == pytest.approx(float(expected), rel=1e-4)


def test_a_vae_loss_is_the_sum_of_its_parts():
    with seeded("a-vae"):
        model = a_vae.with_critic(AVAE(**SMALL["fashion-a-vae"]))
    with seeded("sample"):
        found = a_vae.loss(model, X, LABELS, 0.5)
    parts = found["looks"] + found["kl"] + a_vae.PIXELS * found["pixels"] + found["critic"]
    assert float(found["loss"].detach()) == pytest.approx(float(parts), rel=1e-5)
    with seeded("sample"), torch.no_grad():
        encoded = model.model.encode(X)
        made = model.model.decode(encoded, model.model.chance(encoded))
        assert float(found["pixels"]) == pytest.approx(float((made - X).abs().mean()), rel=1e-5)
        assert float(found["looks"]) == pytest.approx(-float(model.critic(2 * made - 1)[0].mean()), rel=1e-4)


def test_critic_without_batch_variation_judges_images_separately():
    with seeded("critic"):
        alone, together = Critic(widths=(4, 4, 4, 4), varied=False), Critic(widths=(4, 4, 4, 4))
    for critic, same in ((alone, True), (together, False)):
        whole = critic(X)[0]
        single = torch.cat([critic(image[None])[0] for image in X])
        assert torch.allclose(whole, single, atol=1e-5) is same


def test_fgsm_moves_correct_images_by_the_bound_and_keeps_misclassified_ones():
    weights = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(4))
    weights = weights - weights.mean()
    x = 0.3 + 0.4 * X
    right = (x * weights).flatten(1).sum(1) < 0  # of class 1, whose logit is 0
    assert 0 < int(right.sum()) < 6
    moved = nd_vae.fgsm(Linear(weights), x, torch.ones(6, dtype=torch.long), 2.0)
    gap = moved - x
    assert gap[~right].abs().max() == 0
    assert gap[right].flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * int(right.sum()), rel=1e-5)
    assert torch.allclose(gap[right], (2 / 32 * weights.sign()).expand_as(gap[right]), atol=1e-6)
    clamped = nd_vae.fgsm(Linear(weights), X.round(), torch.ones(6, dtype=torch.long), 2.0)
    assert 0 <= clamped.min() <= clamped.max() <= 1


def test_fgsm_with_zero_gradient_keeps_the_images():
    assert torch.equal(nd_vae.fgsm(Linear(torch.zeros(1, 32, 32)), X, torch.zeros(6, dtype=torch.long), 2.0), X)


@pytest.mark.parametrize(("share", "beta"), [(0.0, 1e-4), (0.1501, 0.5), (1.0, 1.0)])
def test_nd_vae_loss_is_the_evidence_bound_of_the_clean_image(share, beta, monkeypatch):
    seen = []
    with seeded("nd-vae"):
        model = NDVAE(**SMALL["fashion-nd-vae"]).eval()
        evidence = model.evidence
    monkeypatch.setattr(model, "evidence", lambda x, clean, start: seen.append((x, clean)) or evidence(x, clean, start))
    with seeded("sample"):
        found = nd_vae.loss(model, X, LABELS, share)
    attacked = nd_vae.fgsm(nd_vae.target(CPU), X, LABELS, nd_vae.BOUND)
    with seeded("sample"):
        noisy = (attacked + nd_vae.NOISE * torch.randn_like(attacked)).clamp(0, 1)
        likelihood, divergences = evidence(noisy, X, model.start)
    assert torch.equal(seen[0][0], noisy)
    assert torch.equal(seen[0][1], X)
    kl = torch.stack(divergences).mean(1)
    raw = kl / torch.tensor([0.5, 0.5, 4.0])  # the third latent has four times the area of the first two
    weights = raw * 3 / raw.sum() if beta < 1 else torch.ones(3)
    bound = (beta * (weights.detach() * kl).sum() - likelihood.mean()) / 1024
    assert float(found["loss"].detach()) == pytest.approx(float(bound.detach()), rel=1e-5)


def squares(*, split: str, folder: str | None) -> ImageSet:
    """Return images of bright squares at random positions."""
    generator = np.random.default_rng({"train": 0, "test": 1}[split])
    pixels = np.zeros((48, 1, 32, 32), np.uint8)
    for picture in pixels:
        top, left = generator.integers(4, 18, 2)
        picture[0, top : top + 10, left : left + 10] = generator.integers(150, 255)
    return ImageSet("squares", pixels, generator.integers(0, 10, 48), tuple("0123456789"), folder or "made")


@pytest.mark.parametrize("name", RECIPES)
def test_short_training_stores_only_the_model_and_is_not_repeated(name, tmp_path):
    recipe = replace(
        RECIPES[name], architecture=SMALL[name], data=squares, quality=lambda *_: {"x": 1.0}, batch=8, held_out=0
    )

    def run(out, steps):
        return train(recipe, out=out, device=CPU, minutes=1.0, seed=0, folder=None, steps=steps)

    weights = run(tmp_path, 6)
    model = checkpoints.load(str(weights), recipe.kind, recipe.build)
    assert model.architecture["width"] == SMALL[name]["width"]
    rows = [json.loads(row) for row in (tmp_path / f"{name}.log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["step"] == 6
    before = weights.read_bytes()
    assert run(tmp_path, 6).read_bytes() == before
    assert f"{sum(value.numel() for value in model.parameters()):,} parameters" in (tmp_path / f"{name}.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", RECIPES)
def test_model_card_covers_both_variants_of_the_given_model(name, monkeypatch):
    """The figures name the variants, and every purifier contains the given model."""
    asked = {}
    module = {"fashion-a-vae": a_vae, "fashion-nd-vae": nd_vae}[name]
    monkeypatch.setattr(module, "purified_accuracies", lambda purifiers, test, device: asked.update(purifiers) or {})
    model = RECIPES[name].build(**SMALL[name])
    module.quality(model, None, CPU)
    assert all(purifier.model is model for purifier in asked.values())
    assert {words.split(",")[0] for words in asked} == {
        name.removeprefix("fashion-") + end for end in ("", "-released")
    }
    if module is a_vae:
        assert [(p.samples, p.temperature) for p in asked.values()] == [(16, 1.0), (1, 0.6)]
    else:
        assert [p.seed for p in asked.values()] == [None, 0, 1, 2]


def test_generator_loss_gives_no_gradient_to_the_critic():
    """Without the critic's own loss, no gradient reaches the critic."""
    with seeded("held"):
        model = a_vae.with_critic(AVAE(**SMALL["fashion-a-vae"]))
    assert isinstance(model, WithCritic)
    encoded = model.model.encode(X)
    made = model.model.decode(encoded, model.model.chance(encoded))
    model.held(2 * made - 1)[0].mean().backward()
    assert all(value.grad is None for value in model.critic.parameters())
    assert model.model.encoder.conv2.conv1.conv.weight_orig.grad.abs().max() > 0
