"""Tests of the view that applies to every defense: the exact gradient where there is one, else the surrogate's."""

import torch
from torch import nn

from purebench.attacks.views.gradient_modes import exact_or_bpda
from purebench.core.defense import Function, as_defense


def gradient_of(purifier):
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        classifier[1].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0]]))
    view = exact_or_bpda(as_defense(purifier, classifier))
    x = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    view.logits(x)[0, 0].backward()
    return x.grad.flatten().tolist()


def test_a_purifier_with_a_gradient_is_differentiated():
    assert gradient_of(Function(lambda x: 0.5 * x, random=False)) == [0.5, 1.0, 1.5, 2.0]


def test_the_surrogate_of_a_purifier_without_gradient_is_differentiated():
    assert gradient_of(Function(lambda x: (8 * x).round() / 8, random=False, differentiable=False)) == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]
