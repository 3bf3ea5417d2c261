"""Tests that invalid parameters are rejected when an attack is created, with the parameter and the value."""

import inspect
import math

import pytest

from purebench.attacks.certify import Certify
from purebench.attacks.entry import native
from purebench.attacks.gradient.pgd import mi_fgsm
from purebench.attacks.libraries.art import from_art
from purebench.attacks.libraries.foolbox import from_foolbox
from purebench.attacks.min_norm.cw import CW
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.parameters import MOST, Count, InnerShare, Positive, PositiveShare, Share, check_value, limits
from purebench.core.registry import Spec

INVALID_NUMBERS = ["x", "", "1", True, [1], math.nan, math.inf, -math.inf, -1, 1e30, 10**400]
NUMERIC_PARAMETERS = [
    (name, parameter.name, parameter.default)
    for name in sorted(native())
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
    ("value", "kind", "valid"),
    [
        (0, Share, True),
        (0, PositiveShare, False),
        (1, Share, True),
        (1, InnerShare, False),
        (0.5, InnerShare, True),
        (1.5, Share, False),
        (-0.5, Share, False),
    ],
)
def test_the_ends_of_a_range_are_valid_unless_excluded(value, kind, valid):
    if valid:
        check_value("share", value, kind)
    else:
        with pytest.raises(PurebenchError, match=r"share: expected a number in [\[(]0,1[\])], but got"):
            check_value("share", value, kind)


def test_a_count_has_a_minimum_and_a_maximum():
    check_value("steps", MOST, Count)
    with pytest.raises(PurebenchError, match="steps: expected a whole number of at least 1, but got 'x'"):
        check_value("steps", "x", Count)
    with pytest.raises(PurebenchError, match="steps: expected a whole number of at most 1000000, but got 1000001"):
        check_value("steps", MOST + 1, Count)


def test_a_valid_value_is_kept_as_it_was_given():
    attack = CW(c=1, rate=1)
    assert repr(attack) == "CW(searches=9, steps=100, rate=1, c=1, kappa=0.0, leave=True)"
    assert attack == CW(c=1.0, rate=1.0)


def test_a_factory_checks_its_arguments_before_it_computes_with_them():
    with pytest.raises(PurebenchError, match=r"^steps: expected a whole number of at least 1, but got 0\.$"):
        mi_fgsm(steps=0)
    with pytest.raises(PurebenchError, match=r"^momentum: expected a number in \[0,1000000\], but got -1\.$"):
        mi_fgsm(momentum=-1)
    with pytest.raises(TypeError, match=r"mi_fgsm\(\) got an unexpected keyword argument 'stops'"):
        mi_fgsm(stops=1)


def test_the_error_of_a_parameter_with_its_own_words_states_them():
    with pytest.raises(PurebenchError, match=r"^alpha: expected a probability in \(0,0\.5\), such as 0\.001, but"):
        Certify(alpha=0.5)


@pytest.mark.parametrize(
    ("kind", "interval"),
    [(Count, "[1,1000000]"), (Positive | None, "(0,1000000]"), (InnerShare, "(0,1)"), (Share, "[0,1]"), (float, "")],
)
def test_the_limits_of_a_type_are_written_as_an_interval(kind, interval):
    assert limits(kind) == interval


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
