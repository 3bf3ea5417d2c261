"""Tests `before`, which puts a purifier before a named classifier: logits, views and invalid parameters."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from purebench.attacks.views.gradient_modes import blind, exact
from purebench.core.defense import Certifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.data.datasets import fashion_mnist
from purebench.defenses.classifiers.resnet import fashion_resnet, trades
from purebench.defenses.composition.compose import before
from purebench.defenses.composition.voting import voted
from purebench.defenses.vae.plain import vae


@pytest.fixture(scope="module")
def robust():
    return trades()


@pytest.fixture(scope="module")
def undefended():
    return fashion_resnet()


@pytest.fixture(scope="module")
def x():
    return torch.as_tensor(fashion_mnist().take(range(6)).floats())


def answer(defense, x):
    with seeded("before"):
        return defense(x)


def test_before_uses_the_named_classifier_instead_of_the_boards(robust, undefended, x):
    written = "before(purifier='gaussian-noise(sigma=0.05)', classifier=fashion-trades)"
    made = create("defenses", Spec.parse(written), classifier=undefended)
    noisy = create("defenses", Spec.parse("gaussian-noise(sigma=0.05)"))
    assert torch.equal(answer(made, x), answer(as_defense(noisy, robust), x))
    assert not torch.allclose(answer(made, x), answer(as_defense(noisy, undefended), x), atol=0.1)
    assert made.random


def test_before_without_a_classifier_uses_the_boards(undefended, x):
    made = create("defenses", Spec.parse("before(purifier=vae)"), classifier=undefended)
    assert torch.equal(made(x), undefended(vae()(x)))
    assert torch.equal(before(purifier="none", classifier=undefended)(x), undefended(x))
    assert not made.random


def test_nested_defense_receives_the_named_classifier(robust, x):
    inner = "vote(defense='gaussian-noise(sigma=0.2)', draws=3)"
    made = before(purifier=inner, classifier="fashion-trades")
    noise = create("defenses", Spec.parse("gaussian-noise(sigma=0.2)"))
    assert torch.equal(answer(made, x), answer(voted(as_defense(noise, robust), draws=3), x))
    assert made.passes == 3
    assert isinstance(before(purifier={"smoothing": {"draws": 2}}, classifier="fashion-trades"), Certifier)


def test_vote_accepts_a_composed_defense(robust, undefended, x):
    row = Spec("vote", {"defense": {"before": {"purifier": "gaussian-noise", "classifier": "fashion-trades"}}})
    made = create("defenses", row, classifier=undefended)
    noise = create("defenses", Spec("gaussian-noise"))
    assert torch.equal(answer(made, x), answer(voted(as_defense(noise, robust), draws=8), x))


def test_views_differentiate_the_named_classifier(robust, x):
    """`exact` gives the gradient of purifier and classifier together, `blind` that of the classifier alone."""
    made, y = before(purifier="vae", classifier="fashion-trades"), torch.arange(6)

    def loss(logits, labels):
        return functional.cross_entropy(logits, labels, reduction="none")

    for view, through in ((exact, lambda at: robust(vae()(at))), (blind, robust)):
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(through(leaf), y).sum(), leaf)
        assert torch.allclose(view(made).look(x, y, loss).gradient, slope, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"purifier": "trades", "classifier": "fashion-trades"}, "trades is a classifier; name it as classifier"),
        ({"purifier": "vae", "classifier": "fashion-trade"}, "did you mean 'fashion-trades'"),
        ({"purifier": "vaee", "classifier": "fashion-trades"}, "did you mean 'vae'"),
        ({"purifier": "vae", "classifier": 3}, "but got 3"),
    ],
)
def test_invalid_parameters_are_rejected(settings, message):
    with pytest.raises(PurebenchError, match=message):
        before(**settings)
