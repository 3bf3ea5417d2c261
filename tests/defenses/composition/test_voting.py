"""Tests votes against direct counts, the binomial distribution and finite differences, and through every view."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from purebench.attacks.views.gradient_modes import blind, bpda, exact, no_gradient
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.composition.voting import HOW, Voter, Votes, vote, voted
from purebench.defenses.transforms.simple import GaussianNoise, Quantise

X = 0.2 + 0.6 * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear(seed: int = 1) -> nn.Module:
    layer = nn.Linear(16, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def noisy(sigma: float = 0.2) -> Defense:
    return as_defense(GaussianNoise(sigma), linear())


@pytest.mark.parametrize("how", HOW)
def test_vote_aggregates_the_logits_of_all_draws(how):
    defense = noisy()
    with seeded("votes"):
        found = voted(defense, draws=7, how=how)(X)
    with seeded("votes"):
        each = defense(X.repeat_interleave(7, 0)).view(5, 7, 3)
    if how == "logits":
        expected = each.mean(1)
    elif how == "probabilities":
        expected = each.softmax(2).mean(1).log()
    else:
        counts = torch.stack([(each.argmax(2) == label).sum(1) for label in range(3)], 1)
        expected = ((counts + each.softmax(2).mean(1)) / 8).log()
        most = counts.sort(1, descending=True).values
        clear = most[:, 0] > most[:, 1]
        assert clear.any()
        assert torch.equal(found.argmax(1)[clear], counts.argmax(1)[clear])
    assert torch.allclose(found, expected, atol=1e-12)


def test_mean_probabilities_break_ties_but_never_override_a_majority():
    votes = torch.tensor([[[0.1, 0.0], [0.0, 9.0]], [[0.1, 0.0], [0.2, 0.0]]])
    found = Voter(nn.Identity(), "majority").counted(votes)
    assert found.argmax(1).tolist() == [1, 0]
    unanimous = torch.tensor([[[1.0, -1e4], [2.0, -1e4]]])
    assert bool(torch.isfinite(Voter(nn.Identity(), "majority").counted(unanimous)).all())


def test_majority_accuracy_follows_the_binomial_distribution():
    """Each draw is correct with probability 0.6, so the majority of 9 is with probability P(B(9, 0.6) >= 5)."""
    coin = as_defense(lambda x: torch.stack([torch.rand(len(x)) - 0.4, torch.zeros(len(x))], 1), random=True)
    torch.manual_seed(0)
    right = (voted(coin, draws=9)(torch.zeros(4000, 1, 2, 2)).argmax(1) == 0).float().mean()
    expected = float(binom.sf(4, 9, 0.6))
    assert float(right) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5)


@pytest.mark.parametrize("how", ["probabilities", "logits"])
def test_exact_gradients_match_finite_differences(how, gradient_error):
    """Maps the logits linearly to the shape of the images, so that `gradient_error` covers all of them."""
    defense = voted(noisy(), draws=4, how=how)
    back = torch.randn(3, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert gradient_error(lambda x: (defense(x) @ back).view_as(x), X, "same")[1] < 1e-6


def test_majority_has_the_gradient_of_the_mean_probabilities():
    gradients = []
    for how in ("majority", "probabilities"):
        x = X.clone().requires_grad_()
        with seeded("same"):
            (gradient,) = torch.autograd.grad(voted(noisy(), draws=4, how=how)(x)[:, 0].sum(), x)
        gradients.append(gradient)
    assert torch.allclose(*gradients)
    assert float(gradients[0].abs().max()) > 0


def test_every_view_supports_votes():
    x, y = X.float(), torch.zeros(5, dtype=torch.long)
    rounding = Function(lambda x: Quantise(5)(x + 0.05 * torch.randn_like(x)), random=True)
    defense = voted(as_defense(rounding, linear().float()), draws=3)
    loss = lambda logits, labels: -logits.gather(1, labels[:, None]).squeeze(1)  # noqa: E731
    masked, seen = exact(defense, eot=2).look(x, y, loss), bpda(defense, eot=2).look(x, y, loss)
    assert float(masked.gradient.abs().max()) == 0  # rounding has zero gradient in every vote
    assert float(seen.gradient.abs().max()) > 0
    assert seen.logits.shape == (5, 2, 3)
    assert no_gradient(defense, eot=4).scores(x).shape == (5, 4, 3)
    assert torch.allclose(blind(defense).scores(x)[:, 0], defense.classifier.classifier(x))


def test_surrogate_applies_the_purifiers_surrogate_to_each_vote():
    purifier = Function(torch.round, random=True, surrogate=lambda x: 3 * x)
    assert torch.equal(Votes(purifier, 2).surrogate(X), torch.stack([3 * X, 3 * X], 1))
    assert Votes(purifier, 2)(X).shape == (5, 2, 1, 4, 4)


def test_nested_votes_multiply_the_number_of_passes():
    inner = voted(noisy(), draws=3)
    outer = voted(inner, draws=2)
    assert (inner.passes, outer.passes, outer.random) == (3, 6, True)
    assert outer(X).shape == (5, 3)


def test_vote_created_by_name_uses_the_boards_classifier():
    classifier = linear()
    made = create("defenses", Spec.parse("vote(defense='gaussian-noise(sigma=0.2)', draws=5)"), classifier=classifier)
    same = create(
        "defenses", Spec("vote", {"defense": {"gaussian-noise": {"sigma": 0.2}}, "draws": 5}), classifier=classifier
    )
    direct = voted(noisy(), draws=5)
    with seeded("named"):
        found = made(X)
    with seeded("named"):
        assert torch.equal(same(X), found)
    with seeded("named"):
        assert torch.equal(direct(X), found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"defense": "gaussian-noise", "draws": 1}, "at least 2"),
        ({"defense": "gaussian-noise", "draws": True}, "at least 2"),
        ({"defense": "gaussian-noise", "how": "loudest"}, "unknown"),
        ({"defense": "quantise"}, "expected a random defense"),
        ({"defense": "none"}, "expected a random defense"),
        ({"defense": "gausian-noise"}, "gaussian-noise"),
    ],
)
def test_invalid_parameters_are_rejected(settings, message):
    with pytest.raises(PurebenchError, match=message):
        vote(classifier=linear(), **settings)


def test_images_of_a_batch_do_not_influence_each_other(assert_images_are_independent):
    def answer(x: Tensor) -> Tensor:
        return voted(noisy(), draws=3, how="probabilities")(x)[:, :, None, None].expand(-1, -1, 4, 4)

    assert_images_are_independent(answer, X)


@pytest.mark.parametrize("draws", [3, 5])  # 5 is also the number of images: swapped axes give no shape error
def test_bpda_keeps_the_values_of_the_votes_and_uses_the_identity_gradient(draws):
    """The gradient is the mean over the votes of the classifier's gradient at the purified images."""
    defense = voted(noisy(), draws=draws, how="logits")
    view, x = bpda(defense), X.clone().requires_grad_()
    with seeded("votes"):
        expected = defense(X)
    with seeded("votes"):
        found = view.logits(x)
    assert torch.allclose(found, expected, atol=1e-12)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), x)
    weight = linear()[1].weight[0].view(1, 4, 4)  # the classifier is linear: each vote has this gradient
    assert torch.allclose(gradient, weight.expand_as(gradient), atol=1e-12)
