"""Tests of frozen randomness: equal answers, untouched generators, and the draw and gradient of the inner defense."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

import purebench
from purebench.core.defense import Defense, Function, frozen
from purebench.core.errors import PurebenchError
from purebench.core.seeds import at_seed, seed_of

X = torch.linspace(0, 1, 5 * 2 * 3 * 3).view(5, 2, 3, 3)
WEIGHT = torch.linspace(-1, 1, 4 * 18).view(18, 4).sin()


def classify(x: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1)) @ WEIGHT


def noisy(x: Tensor) -> Tensor:
    """Adds noise from the generators of torch, numpy and random."""
    shift = random.random() + float(np.random.rand())
    return x + torch.randn_like(x) + torch.rand(len(x), 1, 1, 1) + shift


def defense() -> Defense:
    return Defense(classify, Function(noisy, random=True))


def states() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), (kind, bytes(keys), *rest), torch.get_rng_state().numpy().tobytes()


def test_repeated_calls_answer_the_same_bit_for_bit() -> None:
    known = purebench.frozen(defense(), 3)
    assert not known.random
    assert torch.equal(known(X), known(X))
    assert torch.equal(known.classifier(known.purify(X)), known(X))
    assert not torch.equal(known(X), frozen(defense(), 4)(X))


def test_the_states_of_all_generators_are_untouched() -> None:
    before = states()
    frozen(defense(), 3)(X)
    assert states() == before
    with pytest.raises(ZeroDivisionError):
        frozen(Defense(lambda x: x / (1 // 0), random=True), 3)(X)
    assert states() == before


def test_answers_and_gradients_are_those_of_the_inner_defense_under_the_seed() -> None:
    inner, known = defense(), frozen(defense(), 3)
    one, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    with at_seed(3):
        expected = inner(one)
    found = known(other)
    assert torch.equal(found, expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), one)
    (gradient,) = torch.autograd.grad(found.square().sum(), other)
    assert torch.equal(gradient, wanted)


def test_a_random_classifier_is_frozen_as_well() -> None:
    alone = frozen(Defense(lambda x: classify(x + torch.randn_like(x)), random=True), 3)
    with at_seed(3):
        assert torch.equal(alone(X), classify(X + torch.randn_like(X)))
    both = frozen(Defense(lambda x: classify(x + torch.randn_like(x)), Function(noisy, random=True), random=True), 3)
    assert torch.equal(both(X), both(X))
    assert torch.equal(both.classifier(both.purify(X)), both(X))
    with at_seed(3):
        purified = noisy(X)
    with at_seed(seed_of("classifier", "3")):  # not the numbers that the purifier has used
        assert torch.equal(both(X), classify(purified + torch.randn_like(X)))


def test_with_a_fixed_size_the_noise_of_an_image_depends_on_its_row_alone() -> None:
    known = frozen(defense(), 3, size=2)
    whole = known(X)
    for count in range(1, 6):
        assert torch.equal(known(X[:count]), whole[:count])
    same = known(X[:1].expand(5, -1, -1, -1))
    assert torch.equal(same[0], same[2])  # the first row of a part
    assert not torch.equal(same[0], same[1])
    plain = frozen(defense(), 3)
    assert not torch.equal(plain(X[1:])[0], plain(X)[1])  # without it, another batch gives another draw


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: frozen(Defense(classify)), "a random Defense, but got a deterministic one"),
        (lambda: frozen(classify), "but got function; wrap a random model as Defense"),
        (lambda: frozen(defense(), -1), "seed as a whole number"),
        (lambda: frozen(defense(), True), "seed as a whole number"),
        (lambda: frozen(defense(), size=0), "size as a whole number of at least 1"),
    ],
)
def test_other_arguments_are_refused(given, message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        given()
