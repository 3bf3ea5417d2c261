"""Tests the losses of adversarial training against the cited formulas, and the ascent against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.image_set import ImageSet
from purebench.defenses.training.recipes import robust

X = 0.3 + 0.4 * torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def linear() -> nn.Module:
    with seeded("linear"):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_ascent_on_a_linear_model_ends_in_the_worst_corner_of_the_ball():
    """The gradient of the difference of two logits has constant signs, so its corner is the worst point."""
    model, threat = linear(), ThreatModel("linf", 0.05)
    gap = (model[1].weight[1] - model[1].weight[0]).detach()
    x = X[:1]
    with seeded("ascent"):
        found = robust.ascend(model, x, threat, lambda logits: (logits[:, 1] - logits[:, 0]).sum(), steps=10)
    assert torch.allclose(found, x + 0.05 * gap.sign().view(1, 1, 4, 4), atol=1e-6)
    assert model.training


def test_ascent_stays_within_the_ball_and_the_unit_range():
    model, x = linear(), X.clone()
    x[:3], x[3:] = 0.0, 1.0
    with seeded("ascent"):
        found = robust.ascend(model, x, robust.THREAT, lambda logits: functional.cross_entropy(logits, LABELS))
    assert float((found - x).abs().max()) <= robust.THREAT.radius + 1e-7
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_divergence_is_the_mean_kullback_leibler_divergence():
    generator = torch.Generator().manual_seed(3)
    one, other = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    p, q = torch.distributions.Categorical(logits=one), torch.distributions.Categorical(logits=other)
    expected = torch.distributions.kl_divergence(p, q).mean()
    assert float(robust.divergence(one, other)) == pytest.approx(float(expected), rel=1e-5)


def test_trades_loss_is_cross_entropy_plus_beta_times_the_divergence_at_the_worst_point(monkeypatch):
    model, worst = linear(), (X + 0.01).clamp(0, 1)
    monkeypatch.setattr(robust, "ascend", lambda *_: worst)
    found = robust.trades(model, X, LABELS, 1.0)
    clean = functional.cross_entropy(model(X), LABELS)
    expected = clean + robust.BETA * robust.divergence(model(X), model(worst))
    assert float(found["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    found["loss"].backward()
    assert float(model[1].weight.grad.abs().sum()) > 0


def test_pgd_at_loss_exceeds_the_clean_cross_entropy():
    model = linear()
    with seeded("at"):
        found = robust.pgd_at(model, X, LABELS, 1.0)
    assert float(found["loss"].detach()) > float(functional.cross_entropy(model(X), LABELS).detach())


def test_radius_grows_to_its_full_size_during_warm_up():
    radii = [robust.at_share(share).radius for share in (0.0, 0.05, robust.WARM_UP, 1.0)]
    assert radii == sorted(radii)
    assert radii[0] == pytest.approx(0.1 * robust.THREAT.radius)
    assert radii[-1] == robust.THREAT.radius


def test_accuracy_after_the_ascent_is_the_share_of_images_whose_margin_exceeds_the_radius(monkeypatch):
    """On two classes of a linear model the worst point lowers the margin by the radius times the l1 norm."""
    monkeypatch.setattr(robust, "CHECK_BATCH", 4)  # less than the number of images
    with seeded("margins"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        images = 0.3 + 0.4 * torch.rand(30, 1, 4, 4)
    weight = (model[1].weight[1] - model[1].weight[0]).detach()
    values = images.flatten(1) @ weight
    middle = values.median() + 1e-4
    model[1].bias = nn.Parameter(torch.stack([middle, torch.tensor(0.0)]))  # half of the images are in each class
    labels, margins = (values > middle).long(), (values - middle).abs()
    threat = ThreatModel("linf", float(margins.quantile(0.4) / weight.abs().sum()))
    expected = float((margins > threat.radius * weight.abs().sum()).float().mean())
    assert 0.5 < expected < 0.7
    data = ImageSet("made", images.numpy(), labels.numpy(), ("a", "b"), "made")
    found = robust.accuracy_after_ascent(model, data, torch.device("cpu"), threat)
    assert found == pytest.approx(expected)
    assert not model.training


@pytest.mark.parametrize("name", ["fashion_trades", "fashion_pgd_at"])
def test_a_few_training_steps_reduce_the_loss_and_give_full_robust_accuracy(name):
    """Trains on two classes that differ in brightness by more than the ball allows."""
    recipe = getattr(robust, name)
    x = torch.cat([torch.full((16, 1, 32, 32), 0.2), torch.full((16, 1, 32, 32), 0.8)])
    y = torch.arange(2).repeat_interleave(16)
    with seeded("few"):
        model = recipe.build(channels=1, classes=2, width=4, depth=1, stride=2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        losses = []
        for _ in range(12):
            optimizer.zero_grad()
            found = recipe.loss(model.train(), x, y, 1.0)
            found["loss"].backward()
            optimizer.step()
            losses.append(float(found["loss"].detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert float(found["robust"]) == 1.0
