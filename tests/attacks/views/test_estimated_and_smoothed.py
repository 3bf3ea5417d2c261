"""Tests of views with estimated and smoothed gradients against closed forms, and of those that attack other models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.losses import margin
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.estimated import estimated
from purebench.attacks.views.smoothed import smoothed
from purebench.attacks.views.stand_in import inner, inner_modules, stand_in
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

SIDE, LINF = 4, ThreatModel("linf", 0.1)


class Linear(nn.Module):
    """Logits (-w·x, w·x); without a gradient if `detached`."""

    def __init__(self, weights: torch.Tensor, *, detached: bool = False):
        super().__init__()
        self.register_buffer("weights", weights)
        self.detached = detached

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = (x * self.weights).flatten(1).sum(1)
        logits = torch.stack([-value, value], 1)
        return logits.detach() + 0 * x.sum() if self.detached else logits


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.full((3, 1, SIDE, SIDE), 0.5)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(nn.functional.cosine_similarity(one.flatten(), other.flatten(), 0))


def test_the_estimate_is_unbiased_for_a_linear_loss_whose_gradient_is_hidden(weights, x) -> None:
    torch.manual_seed(0)
    view = estimated(Defense(Linear(weights, detached=True)), samples=4000)
    look = view.look(x, torch.zeros(3, dtype=torch.long), margin)
    # Var of g_j is about (|w|² - w_j²)·4 / samples for a gradient of 2w
    error = 5 * (4 * float(weights.square().sum()) / 4000) ** 0.5
    torch.testing.assert_close(look.gradient, (2 * weights).expand_as(x), atol=error, rtol=0)
    torch.testing.assert_close(look.loss, 2 * (x * weights).flatten(1).sum(1))
    assert (view.forwards, view.backwards) == (3 * (1 + 2 * 4000), 0)


def test_a_negative_number_of_tiles_is_rejected(weights) -> None:
    with pytest.raises(PurebenchError, match=r"estimated: tiles: .*-1"):
        estimated(Defense(Linear(weights)), tiles=-1)


def test_tiles_estimate_the_mean_of_the_gradient_in_each_tile(weights, x) -> None:
    torch.manual_seed(0)
    view = estimated(Defense(Linear(weights)), samples=3000, tiles=2)
    gradient = view.look(x, torch.zeros(3, dtype=torch.long), margin).gradient
    blocks = gradient.view(3, 1, 2, 2, 2, 2)
    assert (blocks.amax((3, 5)) == blocks.amin((3, 5))).all()
    sums = (2 * weights).view(1, 1, 2, 2, 2, 2).sum((3, 5))
    torch.testing.assert_close(blocks.mean((3, 5)), sums.expand(3, 1, 2, 2), atol=0.7, rtol=0)


def test_an_attack_with_estimated_gradients_breaks_a_defense_without_gradients(weights, x) -> None:
    torch.manual_seed(0)
    defense, threat = Defense(Linear(weights, detached=True)), ThreatModel("linf", 0.3)
    y = torch.full((3,), int(float((x[0] * weights).sum()) > 0))
    found = PGD(steps=5).run(estimated(defense, samples=100), x, y, threat)
    assert (defense(found).argmax(1) != y).all()


def test_smoothing_removes_a_term_of_high_frequency(weights, x) -> None:
    class Shattered(Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            wave = (torch.sin(1e4 * images + 1) / 1000).flatten(1).sum(1)
            return super().forward(images) + torch.stack([-wave, wave], 1)

    torch.manual_seed(0)
    defense, y = Defense(Shattered(weights)), torch.zeros(3, dtype=torch.long)
    plain = smoothed(defense, samples=1, sigma=1e-9).look(x, y, margin).gradient
    smooth = smoothed(defense, samples=4000, sigma=0.05).look(x, y, margin).gradient
    assert abs(cosine(plain[0], weights)) < 0.7
    assert cosine(smooth[0], weights) > 0.7


def test_smoothing_a_quadratic_gives_the_gradient_at_the_point(x) -> None:
    class Quadratic(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            value = (images - 0.2).square().flatten(1).sum(1)
            return torch.stack([-value, value], 1)

    torch.manual_seed(0)
    view = smoothed(Defense(Quadratic()), samples=4000, sigma=0.05)
    gradient = view.look(x, torch.zeros(3, dtype=torch.long), margin).gradient
    torch.testing.assert_close(gradient, 4 * (x - 0.2), atol=0.02, rtol=0)
    assert view.backwards == 3 * 4000


def test_an_unknown_gradient_mode_is_rejected(weights) -> None:
    with pytest.raises(PurebenchError, match="did you mean 'exact'"):
        smoothed(Defense(Linear(weights)), through="exakt")


class Wrapper(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.scale = model, nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale(self.model(x)).detach() + 0 * x.sum()


def test_parts_that_map_images_to_logits_are_found_and_attacked(weights, x) -> None:
    defense = Defense(Wrapper(Linear(weights)))
    assert inner_modules(defense, x) == ["classifier", "classifier.model"]
    view = inner(defense, module="classifier.model")
    gradient = view.look(x, torch.zeros(3, dtype=torch.long), margin).gradient
    torch.testing.assert_close(gradient, (2 * weights).expand_as(x))
    assert not view.decides
    with pytest.raises(Inapplicable, match="no part 'other'"):
        inner(defense, module="other")


def test_a_stand_in_is_attacked_in_place_of_the_defense(x) -> None:
    from purebench.core.registry import LOCAL

    made = Linear(torch.ones(1, SIDE, SIDE))
    LOCAL["classifiers"]["ones"] = lambda: made
    try:
        view = stand_in(Defense(Linear(-torch.ones(1, SIDE, SIDE))), classifier="ones")
    finally:
        LOCAL["classifiers"].pop("ones")
    gradient = view.look(x, torch.zeros(3, dtype=torch.long), margin).gradient
    torch.testing.assert_close(gradient, torch.full_like(x, 2.0))
    assert not view.decides


def test_attacks_that_would_leave_the_smoothing_out_refuse_a_smoothed_view(small) -> None:
    """Libraries and draws that are kept apart differentiate the defense itself; known noise is of other rows."""
    case = small(images=2, noise=0.1)
    view = smoothed(case.defense)
    for use in (
        "foolbox:LinfPGD(steps=2)",
        "art:ProjectedGradientDescent(max_iter=2)",
        "diffhammer",
        "known-randomness",
    ):
        attack = create("attacks", Spec.parse(use))
        with pytest.raises(Inapplicable):
            attack(view, case.x, case.y, LINF)
    with pytest.raises(Inapplicable, match="deviated would leave the smoothing out"):
        create("attacks", Spec("deviated"))(view, case.x, case.y, LINF)
    found = APGD(steps=2).run(view, case.x, case.y, LINF)
    assert found.shape == case.x.shape


def test_an_estimate_is_in_float32_whatever_the_precision_of_gradients(x) -> None:
    """The difference of two values around 1,000 is lost in bf16."""
    defense, labels = Defense(Linear(torch.full((1, SIDE, SIDE), 100.0))), torch.zeros(3, dtype=torch.long)
    looks = []
    for precision in ("float32", "bf16"):
        view = replace(estimated(defense, sigma=0.001), precision=precision)
        with seeded("estimate"):
            looks.append(view.look(x, labels, margin))
    assert bool(looks[0].gradient.any())
    torch.testing.assert_close(looks[1].gradient, looks[0].gradient, rtol=0, atol=0)
