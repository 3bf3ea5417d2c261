"""Tests of the detection of draws that share a random choice within a call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purebench.attacks.views.gradient_modes import exact, no_gradient
from purebench.core.defense import Defense, as_defense, keep_random_layers_on
from purebench.core.errors import PurebenchError
from purebench.execution.contract.draw_independence import FALSE_ALARM, excess_between_calls, shares_draws

X = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
W = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(1))


def ensemble(x: Tensor) -> Tensor:
    return x.flatten(1) @ W[torch.randint(2, ())]


def seldom(x: Tensor) -> Tensor:
    return x.flatten(1) @ W[int(torch.rand(()) < 0.25)]


def crop(x: Tensor) -> Tensor:
    return x.roll(int(torch.randint(4, ())), 3).flatten(1) @ W[0]


def broadcast_noise(x: Tensor) -> Tensor:
    return (x + 0.1 * torch.randn_like(x[:1])).flatten(1) @ W[0]


def half_shared(x: Tensor) -> Tensor:
    return (x + 0.1 * torch.randn_like(x[:1]) + 0.1 * torch.randn_like(x)).flatten(1) @ W[0]


def own_noise(x: Tensor) -> Tensor:
    return (x + 0.1 * torch.randn_like(x)).flatten(1) @ W[0]


def own_model(x: Tensor) -> Tensor:
    return (x.flatten(1)[:, None] @ W[torch.randint(2, (len(x),))]).squeeze(1)


def own_rare(x: Tensor) -> Tensor:
    return (x.flatten(1)[:, None] @ W[(torch.rand(len(x)) < 0.05).long()]).squeeze(1)


def one_seed(x: Tensor) -> Tensor:
    return x.flatten(1) @ W[0]


@pytest.mark.parametrize("function", [ensemble, seldom, crop, broadcast_noise, half_shared])
def test_random_choices_shared_within_a_call_are_detected(function: Callable[[Tensor], Tensor]) -> None:
    assert shares_draws(as_defense(function, random=True), X)


@pytest.mark.parametrize("function", [own_noise, own_model, own_rare, one_seed])
def test_independent_draws_are_not_reported(function: Callable[[Tensor], Tensor]) -> None:
    assert not shares_draws(as_defense(function, random=True), X)
    assert not shares_draws(as_defense(function), X)


def test_the_false_alarm_rate_holds_for_heavy_tails() -> None:
    rng = np.random.default_rng(0)
    found = [excess_between_calls(rng.standard_t(1.5, (16, 4, 2, 5))) for _ in range(60)]
    assert min(found) > FALSE_ALARM
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.2)


def test_eot_averages_over_calls_if_draws_are_shared_within_a_call() -> None:
    """The mean gradient of an ensemble is that of both models and not that of one model."""
    defense = as_defense(ensemble, random=True)
    y = torch.zeros(2, dtype=torch.long)
    gradients = {}
    for shared in (False, True):
        defense.shares_draws = shared
        torch.manual_seed(0)
        look = exact(defense, eot=64).look(X, y, lambda logits, labels: logits[:, 0])
        gradients[shared] = look.gradient.flatten(1)
        assert look.logits.shape == (2, 64, 3)
    both = W[:, :, 0].mean(0)
    assert (gradients[True] - both).norm() < 0.3 * (W[0, :, 0] - both).norm()
    assert torch.allclose(gradients[False], W[0, :, 0]) or torch.allclose(gradients[False], W[1, :, 0])
    scores = no_gradient(defense, eot=64).scores(X)
    assert (scores[:, :, 0] != scores[:, :1, 0]).sum(1).min() > 8
    logits = exact(defense, eot=64).as_module()(X.clone().requires_grad_())
    each = torch.stack([(X.flatten(1) @ w).log_softmax(1) for w in W])
    assert (logits - each.mean(0)).abs().max() < 0.3 * (each[0] - each[1]).abs().max()


class Dropping(nn.Module):
    """A linear layer behind dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


def test_dropout_disabled_by_eval_is_rejected_and_can_be_kept_on() -> None:
    with pytest.raises(PurebenchError, match="keep_random_layers_on"):
        shares_draws(as_defense(Dropping(), random=True), X)
    defense = as_defense(Defense(keep_random_layers_on(Dropping()), random=True))
    assert not shares_draws(defense, X)
    assert [part.training for part in defense.modules() if isinstance(part, nn.BatchNorm1d | nn.Dropout)] == [
        False,
        True,
    ]
    assert not torch.equal(defense.eval()(X), defense(X))


def test_keep_random_layers_on_accepts_other_layer_classes() -> None:
    with pytest.raises(PurebenchError, match="has none; name the classes"):
        keep_random_layers_on(nn.Linear(2, 2))
    kept = Defense(keep_random_layers_on(Dropping(), nn.Linear), random=True).eval()
    assert [part.training for part in kept.modules() if isinstance(part, nn.Linear)] == [True]


def seeds_itself(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return own_noise(x)


def seeds_the_next(x: Tensor) -> Tensor:
    found = own_noise(x)
    torch.manual_seed(0)
    return found


def another_generator(x: Tensor) -> Tensor:
    noise = np.random.default_rng(0).normal(size=tuple(x.shape))
    return (x + 0.1 * torch.as_tensor(noise, dtype=x.dtype)).flatten(1) @ W[0]


@pytest.mark.parametrize("function", [seeds_itself, seeds_the_next, another_generator])
def test_a_random_defense_with_fixed_seeds_is_rejected(function: Callable[[Tensor], Tensor]) -> None:
    """Its fresh draws would equal the draws that the attack used and that picked the adversarial examples."""
    with pytest.raises(PurebenchError, match="it sets its own seed"):
        shares_draws(as_defense(function, random=True), X)
