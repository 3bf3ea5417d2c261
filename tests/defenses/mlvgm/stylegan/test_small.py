"""Tests the small StyleGAN2 autoencoder and the recipe that trains it with a critic."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.seeds import seeded
from purebench.data.datasets import ImageSet
from purebench.defenses import checkpoints
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.schedules import alphas
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.training.loop import rate_at, rated, train
from purebench.defenses.training.recipes import adversarial, stylegan
from purebench.defenses.training.recipes.adversarial import Critic, WithCritic

CPU = torch.device("cpu")
SMALL = {"dim": 12, "mappings": 2, "channels": {"4": 8, "8": 8, "16": 6, "32": 4}, "widths": [12, 10, 8]}
X = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def random_model() -> SmallStyleGAN:
    """Return a model with random weights, larger than initial ones, with which assertions may hold trivially."""
    with seeded("small"):
        model = SmallStyleGAN(**SMALL)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "mapping" not in name and "style" not in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def encoded(i, code, sample):
    return code


def sampled(i, code, sample):
    return sample


def purifier(model, attenuation, schedule="constant"):
    return MLVGMPurifier(model, schedule=schedule, attenuation=attenuation)


def test_mix_is_called_once_per_code_from_coarse_to_fine():
    calls = []

    def mix(i, code, sample):
        calls.append((i, tuple(code.shape), tuple(sample.shape)))
        return code

    image = random_model().autoencode(X, mix)
    assert calls == [(i, (6, 12), (6, 12)) for i in range(8)]
    assert image.shape == X.shape


def test_later_codes_are_offsets_from_the_first_code():
    model = random_model()
    with torch.no_grad():
        coarse = model.encoder.heads[-1][-1]
        coarse.weight.zero_()
        coarse.bias.zero_()
        before = model.encode(X)
        coarse.bias[:12] += 3  # changes w_0, and all codes with it
    assert torch.allclose(model.encode(X), before + 3, atol=1e-5)


def test_offsets_of_fine_codes_do_not_depend_on_coarse_features():
    model = random_model()
    before = model.encode(X)
    with torch.no_grad():
        model.encoder.cells[-1].layers[-1].weight.add_(1.0)
    after = model.encode(X)
    differences = [(one[:, 1:] - one[:, :1])[:, 2:] for one in (before, after)]
    assert (after[:, :3] - before[:, :3]).abs().max() > 1e-3
    assert torch.allclose(*differences, atol=1e-4)


def test_alpha_0_is_the_autoencoder_and_alpha_1_ignores_the_image():
    model = random_model()
    plain = model.decoder(model.encoder(2 * X - 1)) / 2 + 0.5
    assert torch.equal(model.autoencode(X, encoded), plain)
    assert torch.equal(purifier(model, 0.0)(X), plain.clamp(0, 1))
    for schedule, sees in (("constant", False), ("cosine", True)):
        asked = X.clone().requires_grad_()
        with seeded("a"):
            image = purifier(model, 1.0, schedule)(asked)
        (gradient,) = torch.autograd.grad(image.square().sum(), asked)
        assert bool(gradient.abs().max() > 0) is sees


def test_samples_come_from_the_mapping_and_differ_between_codes_and_images():
    model, found = random_model(), []
    with seeded("a"):
        model.autoencode(X, lambda i, code, sample: found.append(sample) or code)
    with seeded("a"):
        expected = model.decoder.mapping(torch.randn(8 * 6, 12))
    samples = torch.cat(found)
    assert torch.allclose(samples, expected, atol=1e-6)
    assert torch.cdist(samples, samples).fill_diagonal_(1).min() > 1e-3


def test_batches_agree_with_single_images_and_images_do_not_influence_each_other(assert_images_are_independent):
    model = random_model()
    alone = torch.cat([model.autoencode(image[None], encoded) for image in X])
    assert torch.allclose(model.autoencode(X, encoded), alone, atol=1e-5)
    assert_images_are_independent(lambda x: model.autoencode(x, lambda i, code, sample: 0.6 * code + 0.4 * sample), X)


def test_gradient_matches_finite_differences(gradient_error):
    model = random_model().double()
    gradient, error = gradient_error(
        lambda x: model.autoencode(x, lambda i, code, sample: 0.6 * code + 0.4 * sample), X[:2].double(), "gradient"
    )
    assert gradient.abs().max() > 1e-4
    assert error <= 1e-5


# --- the recipe --------------------------------------------------------------------------------------------------


def squares(*, split: str, folder: str | None) -> ImageSet:
    """Return images of bright squares of two sizes at random positions."""
    generator = np.random.default_rng({"train": 0, "test": 1}[split])
    labels = generator.integers(0, 2, 64)
    pixels = np.zeros((64, 1, 32, 32), np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        top, left = generator.integers(4, 14, 2)
        picture[0, top : top + 8 + 6 * label, left : left + 8 + 6 * label] = generator.integers(150, 255)
    return ImageSet("squares", pixels, labels, ("small", "large"), folder or "made")


def error(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    assert isinstance(model, SmallStyleGAN)
    x = torch.as_tensor(test.floats())
    return {"error": float((model.autoencode(x, encoded) - x).detach().square().mean())}


RECIPE = replace(
    stylegan.recipe, architecture=SMALL, data=squares, quality=error, batch=8, held_out=0, ema=0.9, save_every=0.0
)


def run(out, recipe=RECIPE, *, steps=4):
    return train(recipe, out=out, device=CPU, minutes=1.0, seed=0, folder=None, steps=steps)


def test_recipe_is_registered_and_trains_every_parameter():
    assert registry.factory("recipes", "fashion-stylegan")[0] is stylegan.recipe
    with seeded("recipe"):
        model = WithCritic(SmallStyleGAN(**json.loads(json.dumps(stylegan.recipe.architecture))))
        losses = stylegan.loss(model, X, torch.zeros(6), 0.1)
    next(iter(losses.values())).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(value.isfinite() for value in losses.values())


def test_short_training_improves_the_reconstruction_and_does_not_store_the_critic(tmp_path):
    weights = run(tmp_path, replace(RECIPE, save_every=60.0), steps=20)
    trained = checkpoints.load(str(weights), "small-stylegan", SmallStyleGAN)
    test = squares(split="test", folder=None)
    with seeded("fresh"):
        fresh = SmallStyleGAN(**SMALL)
    assert error(trained, test, CPU)["error"] < 0.6 * error(fresh, test, CPU)["error"]
    card = (tmp_path / "fashion-stylegan.md").read_text(encoding="utf-8")
    assert f"{sum(parameter.numel() for parameter in fresh.parameters()):,} parameters" in card


class Killed(Exception):
    """Simulates the signal that ends a training run."""


def test_resumed_training_gives_the_same_weights_as_an_uninterrupted_one(tmp_path):
    calls = []

    def interrupted(model, x, labels, share):
        calls.append(share)
        if len(calls) == 3:
            raise Killed
        return stylegan.loss(model, x, labels, share)

    undisturbed = run(tmp_path / "undisturbed").read_bytes()
    with pytest.raises(Killed):
        run(tmp_path / "killed", replace(RECIPE, loss=interrupted))
    assert torch.load(tmp_path / "killed" / "fashion-stylegan.state.pt", weights_only=True)["step"] == 2
    assert run(tmp_path / "killed").read_bytes() == undisturbed


def test_parts_of_the_model_have_their_own_learning_rates(tmp_path):
    with seeded("rates"):
        model = WithCritic(SmallStyleGAN(**SMALL))
    groups = rated(model, {"model.decoder": 3.0, "model": 2.0, "critic": 0.25})
    parts = {3.0: model.model.decoder, 2.0: model.model.encoder, 0.25: model.critic}
    assert {group["factor"]: set(group["params"]) for group in groups} == {
        factor: set(part.parameters()) for factor, part in parts.items()
    }
    assert [len(group["params"]) for group in rated(model, {})] == [len(list(model.parameters()))]
    run(tmp_path)
    state = torch.load(tmp_path / "fashion-stylegan.state.pt", weights_only=True)
    rates = [group["lr"] / group["factor"] for group in state["optimizer"]["param_groups"]]
    assert sorted(group["factor"] for group in state["optimizer"]["param_groups"]) == [0.25, 1.0, 3.0]
    assert rates == pytest.approx([stylegan.recipe.rate * rate_at(0.75)] * 3)


def test_model_card_figures_are_those_of_the_given_model(monkeypatch):
    """The first purifier has alpha 0 and is deterministic; every purifier contains the given model."""
    seen = {}
    monkeypatch.setattr(stylegan, "purified_accuracies", lambda purifiers, test, device: seen.update(purifiers) or {})
    model = random_model()
    stylegan.quality(model, squares(split="test", folder=None), CPU)
    assert [purifier.random for purifier in seen.values()] == [False] + [True] * 6
    assert all(purifier.model is model for purifier in seen.values())
    assert seen["cosine × 0.7"].alphas == pytest.approx(alphas("cosine", 8, 0.7))


def test_generator_and_critic_each_receive_the_gradient_of_their_own_loss():
    """With the non-saturating losses, neither receives a gradient of the other's loss."""
    with seeded("players"):
        model, images, z = WithCritic(nn.Linear(4, 1024)), 2 * X - 1, torch.randn(6, 4)
    fake = model.model(z).view(6, 1, 32, 32)
    looks = adversarial.generator_loss(model.held(fake)[0])
    judged = adversarial.critic_loss(model.critic(images)[0], model.critic(fake.detach())[0])
    (looks + judged).backward()
    alone = torch.autograd.grad(
        functional.softplus(-model.critic(model.model(z).view(6, 1, 32, 32))[0]).mean(), list(model.model.parameters())
    )
    for parameter, expected in zip(model.model.parameters(), alone, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-7)
    real, made_up = model.critic(images)[0].sigmoid(), model.critic(fake.detach())[0].sigmoid()
    alone = torch.autograd.grad(-real.log().mean() - (1 - made_up).log().mean(), list(model.critic.parameters()))
    for parameter, expected in zip(model.critic.parameters(), alone, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-5)


def test_gradient_penalty_of_a_linear_critic_is_half_its_squared_norm():
    weight = torch.arange(4.0)
    images = X.view(-1, 4).clone().requires_grad_()
    assert float(adversarial.penalty(images @ weight, images)) == pytest.approx(7.0)


def test_critic_depends_on_the_variation_within_a_batch():
    with seeded("critic"):
        critic = Critic()
    same = X[:1].expand(4, -1, -1, -1)
    alone, batch = critic(X[:1])[0], critic(same)[0]
    assert torch.allclose(batch, alone.expand(4), atol=1e-5)
    assert (critic(torch.cat([X[:1], 1 - X[1:4]]))[0][0] - alone).abs() > 1e-5


def test_feature_distance_is_relative_to_the_first_features():
    one = [torch.tensor([1.0, -3.0]), torch.tensor([10.0])]
    other = [torch.tensor([2.0, -3.0]), torch.tensor([8.0])]
    assert float(adversarial.feature_distance(one, other)) == pytest.approx(0.5 / 2 + 2 / 10)


def test_random_alphas_are_ramps_from_coarse_to_fine():
    with seeded("alphas"):
        shares = stylegan.random_alphas(4000, 8)
    steps = shares.diff(dim=1)
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert (steps >= 0).all()
    inside = (shares[:, :-1] > 0) & (shares[:, 1:] < shares.amax(1, keepdim=True))
    assert all(row[mask].std() < 1e-5 for row, mask in zip(steps, inside, strict=True) if mask.sum() > 1)
    assert float((shares[:, 0] == 0).float().mean()) > 0.5
    assert float((shares[:, -1] == 1).float().mean()) > 0.2


def test_kept_look_weights_the_difference_by_the_kept_share_of_the_codes():
    """A constant difference of 0.1 counts at every resolution, a checkerboard of ±0.1 at none."""
    shares = torch.tensor([[0.0] * 8, [0.5] * 8, [1.0] * 8])
    images = X[:3]
    weights = [sum((1 - alpha) ** codes for codes in stylegan.DRAWN.values()) for alpha in (0.0, 0.5, 1.0)]
    found = stylegan.kept_look(images + 0.1, images, shares)
    assert float(found) == pytest.approx(0.1 * sum(weights) / 3, rel=1e-4)
    board = 0.1 * (-1.0) ** torch.arange(32)
    assert float(stylegan.kept_look(images + board * board[:, None] * 10, images, shares)) == pytest.approx(0, abs=1e-6)


def test_moments_apart_measures_the_difference_of_means_and_deviations():
    codes = torch.randn(50, 8, 3, generator=torch.Generator().manual_seed(0))
    assert float(stylegan.moments_apart(codes, codes.flip(0))) == pytest.approx(0, abs=1e-10)
    assert float(stylegan.moments_apart(codes, codes + 2)) == pytest.approx(4, rel=1e-4)
    spread = float((codes.std(0) ** 2).mean())
    assert float(stylegan.moments_apart(codes - codes.mean(0), 3 * (codes - codes.mean(0)))) == pytest.approx(
        4 * spread, rel=1e-4
    )
