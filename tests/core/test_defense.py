"""Tests of defenses: composition of purifier and classifier, randomness, and fingerprints."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from purebench.core.defense import Defense, Function, Purifier, as_defense, fingerprint


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def test_the_classifier_gets_the_purified_image() -> None:
    classifier, x = net(), torch.rand(2, 1, 2, 2)
    defense = as_defense(Function(lambda image: 1 - image, random=False), classifier)
    assert torch.equal(defense(x), classifier(1 - x))
    assert torch.equal(defense.purify(x), 1 - x)
    assert torch.equal(as_defense(classifier)(x), classifier(x))
    assert torch.equal(as_defense(lambda image: classifier(image))(x), classifier(x))


@pytest.mark.parametrize("in_classifier", [False, True])
@pytest.mark.parametrize("in_purifier", [False, True])
def test_a_defense_is_random_if_either_part_is(in_classifier: bool, in_purifier: bool) -> None:
    defense = Defense(net(), Function(lambda image: image, random=in_purifier), random=in_classifier)
    assert defense.random == (in_classifier or in_purifier)


def test_surrogates_default_to_the_identity() -> None:
    x = torch.rand(1, 1, 2, 2)
    assert Function(torch.round, random=False).surrogate(x) is x
    assert torch.equal(Function(torch.round, random=False, surrogate=torch.sin).surrogate(x), x.sin())


def test_models_are_in_eval_mode_without_parameter_gradients() -> None:
    defense = as_defense(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)))
    assert not any(module.training for module in defense.modules())
    assert not any(parameter.requires_grad for parameter in defense.parameters())


def test_invalid_defenses_are_rejected() -> None:
    with pytest.raises(TypeError, match="classifier"):
        as_defense(Function(torch.round, random=False))
    with pytest.raises(TypeError, match="callable"):
        as_defense(3)  # type: ignore[arg-type]


def test_the_fingerprint_depends_on_every_weight() -> None:
    one, two = net(), net()
    assert fingerprint(one) == fingerprint(two)
    with torch.no_grad():
        two[1].weight[0, 0] += 1e-6  # type: ignore[index,operator]
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(net().half()) != fingerprint(one)


def test_the_fingerprint_depends_on_the_weights_of_quantised_layers() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    one, two = (torch.ao.quantization.quantize_dynamic(plain, {torch.nn.Linear}, dtype=torch.qint8) for _ in range(2))
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    three = torch.ao.quantization.quantize_dynamic(other, {torch.nn.Linear}, dtype=torch.qint8)
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(three)


def weight_in_a_closure(weight: Tensor) -> Defense:
    return as_defense(lambda x: x.flatten(1) @ weight)


def weight_in_a_list(weight: Tensor) -> Defense:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(*weight.shape, bias=False)
            layer.weight.data = weight.T.clone()
            self.parts = [{"layer": layer}]

        def forward(self, x: Tensor) -> Tensor:
            return self.parts[0]["layer"](x.flatten(1))

    return as_defense(Listed())


def weight_in_a_partial(weight: Tensor) -> Defense:
    return as_defense(functools.partial(lambda w, x: x.flatten(1) @ torch.as_tensor(w), weight.numpy()))


@pytest.mark.parametrize("make", [weight_in_a_closure, weight_in_a_list, weight_in_a_partial])
def test_the_fingerprint_depends_on_weights_outside_the_state_dict(make: Callable[[Tensor], Defense]) -> None:
    """Otherwise a retrained defense would be shown with the results of its old weights."""
    weight = torch.arange(32.0).view(16, 2)
    assert fingerprint(make(weight.clone())) == fingerprint(make(weight.clone()))
    assert fingerprint(make(weight.clone())) != fingerprint(make(weight + 1))


@pytest.mark.parametrize(("declared", "given"), [(None, "it is missing"), ("yes", "it is 'yes'")])
def test_a_purifier_without_the_declaration_of_its_randomness_is_rejected(declared: object, given: str) -> None:
    class Undeclared(Purifier):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    if declared is not None:
        Undeclared.random = declared  # type: ignore[assignment]
    message = f"expected the declaration `random` in the class Undeclared, but {given}; add the line `random = True`"
    with pytest.raises(TypeError, match=message):
        as_defense(Undeclared(), net())
