"""Tests of the module that a view gives to attacks of other libraries."""

import torch
from torch import nn

from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import exact
from purebench.core.seeds import seeded

LOSS = losses.cross_entropy


def test_the_module_returns_the_mean_log_probabilities_of_the_draws(small):
    case = small(noise=0.3)
    view = exact(case.defense, eot=6)
    with seeded("module"):
        given = view.as_module()(case.x)
    with seeded("module"):
        draws = exact(case.defense, eot=6).scores(case.x)
    torch.testing.assert_close(given, draws.log_softmax(2).mean(1))
    assert view.notes == ["sees the mean of the draws' log-probabilities"]


def test_the_module_gives_logits_and_gradients_of_a_deterministic_defense(small):
    case = small()
    view = exact(case.defense)
    leaf = case.x.double().requires_grad_()  # some libraries work in float64
    logits = view.as_module()(leaf)
    torch.testing.assert_close(logits, case.net(case.x))
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, case.y, reduction="sum"), leaf)
    torch.testing.assert_close(gradient.float(), exact(case.defense).look(case.x, case.y, LOSS).gradient)
    assert (view.forwards, view.backwards, view.notes) == (12, 12, [])
