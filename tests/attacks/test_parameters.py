"""Tests that invalid parameters are rejected when an attack is created, with the parameter and the value."""

import inspect
import math

import pytest

from purebench.attacks.entry import native
from purebench.attacks.libraries.art import from_art
from purebench.attacks.libraries.foolbox import from_foolbox
from purebench.attacks.parameters import MOST, a_number, at_least_one
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec

INVALID_NUMBERS = ["x", "", "1", True, [1], math.nan, math.inf, -math.inf, -1, 1e30, 10**400]
NUMERIC_PARAMETERS = [
    (name, parameter.name, parameter.default)
    for name in sorted(set(native()) - {"certify"})
    for parameter in inspect.signature(registry.factory("attacks", name)[0]).parameters.values()
    if parameter.default is None or isinstance(parameter.default, int | float)
    if not isinstance(parameter.default, bool)
]


@pytest.mark.parametrize("value", INVALID_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(("name", "parameter", "default"), NUMERIC_PARAMETERS)
def test_every_native_attack_rejects_invalid_numbers(name, parameter, default, value):
    with pytest.raises(PurebenchError, match=r"expected .*but got") as error:
        registry.create("attacks", Spec(name, {parameter: value}))
    assert parameter in str(error.value)
    assert "cannot be made" not in str(error.value)


@pytest.mark.parametrize(("name", "parameter", "default"), NUMERIC_PARAMETERS)
def test_none_is_rejected_unless_it_is_a_valid_value(name, parameter, default):
    if default is None or (name, parameter) == ("deepfool", "candidates"):
        registry.create("attacks", Spec(name, {parameter: None}))
    else:
        with pytest.raises(PurebenchError, match=f"{parameter}: expected"):
            registry.create("attacks", Spec(name, {parameter: None}))


@pytest.mark.parametrize(("name", "parameter"), [("pgd", "random"), ("cw", "leave")])
def test_bool_parameters_reject_integers(name, parameter):
    with pytest.raises(PurebenchError, match=f"{parameter}: expected true or false, but got 1"):
        registry.create("attacks", Spec(name, {parameter: 1}))


@pytest.mark.parametrize(
    ("value", "options", "valid"),
    [
        (0, {}, True),
        (0, {"above": True}, False),
        (1, {}, True),
        (1, {"below": True}, False),
        (0.5, {"above": True, "below": True}, True),
        (1.5, {}, False),
        (-0.5, {}, False),
    ],
)
def test_the_ends_of_a_range_are_valid_unless_excluded(value, options, valid):
    if valid:
        a_number("share", value, 0, 1, **options)
    else:
        with pytest.raises(PurebenchError, match=r"share: expected a number in [\[(]0,1[\])], but got"):
            a_number("share", value, 0, 1, **options)


def test_a_count_has_a_maximum():
    at_least_one(steps=MOST)
    with pytest.raises(PurebenchError, match="steps: expected a whole number of at most 1000000, but got 1000001"):
        at_least_one(steps=MOST + 1)


@pytest.mark.parametrize(
    ("make", "name", "options", "message"),
    [
        (from_art, "HopSkipJump", {"max_iter": 0}, "art:HopSkipJump: max_iter: expected a whole number of at least 1"),
        (from_art, "HopSkipJump", {"batch_size": 0}, "batch_size: expected a whole number"),
        (from_art, "ProjectedGradientDescent", {"max_iter": "x"}, "max_iter: expected a whole number"),
        (from_art, "ProjectedGradientDescent", {"eps": 0.1}, "expected no 'eps': it is the board's radius"),
        (from_art, "FeatureAdversariesPyTorch", {"delta": 0.1}, "expected no 'delta': it is the board's radius"),
        (from_art, "DeepFool", {"epsilon": "x"}, "epsilon: expected a number"),
        (from_foolbox, "LinfPGD", {"steps": 0}, "foolbox:LinfPGD: steps: expected a whole number of at least 1"),
        (from_foolbox, "LinfPGD", {"steps": -3}, "but got -3"),
        (from_foolbox, "LinfPGD", {"rel_stepsize": 0.0}, r"rel_stepsize: expected a number in \(0,"),
        (from_foolbox, "LinfPGD", {"rel_stepsize": math.nan}, "but got nan"),
        (from_foolbox, "LinfPGD", {"random_start": "x"}, "random_start: expected true or false"),
        (from_foolbox, "LinfDeepFoolAttack", {"candidates": 1}, r"candidates: expected a number in \[2,"),
    ],
)
def test_invalid_parameters_of_library_attacks_are_rejected(make, name, options, message):
    with pytest.raises(PurebenchError, match=message):
        make(name, **options)


def test_valid_parameters_of_library_attacks_are_accepted():
    assert from_foolbox("LinfPGD", steps=3, abs_stepsize=None).options == {"steps": 3, "abs_stepsize": None}
    assert from_art("UniversalPerturbation", delta=0.5).options == {
        "delta": 0.5
    }  # for this attack, delta is not a radius
    assert from_art("Wasserstein", eps=0.5).options == {"eps": 0.5}  # the radius of another ball than the board's
