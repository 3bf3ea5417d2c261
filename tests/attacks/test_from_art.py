"""ART's attacks over a view: gradient and decision-based, both norms, and what is refused."""

import pytest
import torch

from purebench.attacks.from_art import FIXED_NORMS, art_classes, from_art
from purebench.attacks.view import bpda, exact, no_gradient
from purebench.defense import Defense, as_defense
from purebench.defenses.transforms import Quantise
from purebench.errors import PurebenchError
from purebench.seeds import seeded
from purebench.threat import ThreatModel

pytestmark = pytest.mark.filterwarnings("ignore")

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.8)
HOP = {"max_iter": 3, "max_eval": 60, "init_eval": 20, "init_size": 20}
RUNS = [
    ("ProjectedGradientDescent", {"max_iter": 15}, LINF),
    ("ProjectedGradientDescent", {"max_iter": 15}, L2),
    ("FastGradientMethod", {}, LINF),
    ("FastGradientMethod", {}, L2),
    ("AutoProjectedGradientDescent", {"max_iter": 10, "nb_random_init": 1}, LINF),
    ("BasicIterativeMethod", {"max_iter": 15}, LINF),
    ("DeepFool", {"max_iter": 10}, L2),
    ("HopSkipJump", HOP, LINF),
    ("HopSkipJump", HOP, L2),
    ("SquareAttack", {"max_iter": 60}, LINF),
]
NEEDS_NONE = ("HopSkipJump", "SquareAttack")


@pytest.mark.parametrize(("name", "options", "threat"), RUNS)
def test_it_breaks_a_deterministic_defense_within_the_threat_model(small, inside, accuracy, name, options, threat):
    case = small(images=10)
    view = (no_gradient if name in NEEDS_NONE else exact)(case.defense)

    def found(seed):
        with seeded("art", seed):
            return from_art(name, **options)(view, case.x, case.y, threat)

    one = found("one")
    inside(one, case.x, threat)
    assert accuracy(case.defense, one, case.y) <= 0.6
    assert torch.equal(one, found("one"))
    assert (view.backwards > 0) == (name not in NEEDS_NONE)


@pytest.mark.parametrize(
    ("name", "options", "threat"), [RUNS[0], RUNS[3], ("HopSkipJump", HOP, ThreatModel("l2", 2.5))]
)
def test_it_runs_over_a_random_defense(small, inside, accuracy, name, options, threat):
    case = small(noise=0.2, images=16)
    view = exact(case.defense, eot=4)
    with seeded("random"):
        clean = accuracy(case.defense, case.x, case.y, 32)
        found = from_art(name, **options)(view, case.x, case.y, threat)
        left = accuracy(case.defense, found, case.y, 32)
    inside(found, case.x, threat)
    assert left < clean - 0.05
    assert view.notes == ["sees the mean of the draws' log-probabilities"]


def test_bpda_is_what_lets_it_through_a_purifier_without_a_gradient(small, accuracy):
    case = small(images=16)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        naive, through = (
            from_art("ProjectedGradientDescent", max_iter=15)(view(defense), case.x, y, LINF) for view in (exact, bpda)
        )
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


@pytest.mark.parametrize(
    ("name", "options", "threat", "told"),
    [
        ("DeepFool", {}, LINF, "expected an attack in linf, but it measures l2"),
        ("BasicIterativeMethod", {}, L2, "expected an attack in l2, but it measures linf"),
        ("PixelAttack", {}, L2, "l0"),
        ("Wasserstein", {}, L2, "Wasserstein"),
        ("SpatialTransformation", {}, LINF, "no norm"),
        ("ProjectedGradientDescent", {"norm": 2}, LINF, "norm=2"),
    ],
)
def test_an_attack_of_another_norm_is_refused(small, name, options, threat, told):
    case = small()
    view = exact(case.defense)
    with pytest.raises(PurebenchError, match=told):
        from_art(name, **options)(view, case.x, case.y, threat)
    assert view.forwards == 0


def test_norm_radius_and_step_come_from_the_threat_and_options_go_first():
    assert from_art("ProjectedGradientDescent").settings(L2) == {
        "verbose": False,
        "norm": 2,
        "eps": 0.8,
        "eps_step": pytest.approx(0.2),
    }
    assert from_art("ProjectedGradientDescent", eps_step=0.5).settings(L2)["eps_step"] == 0.5
    # Auto-PGD begins with twice the radius and halves from there
    assert from_art("AutoProjectedGradientDescent").settings(L2)["eps_step"] == pytest.approx(1.6)
    assert from_art("NewtonFool").settings(L2) == {"verbose": False}


def test_unknown_names_and_parameters_name_the_nearest():
    with pytest.raises(PurebenchError, match="did you mean 'HopSkipJump'"):
        from_art("HopSkipJmp")
    with pytest.raises(PurebenchError, match="did you mean 'max_iter'"):
        from_art("HopSkipJump", maxiter=3)


def test_the_table_of_norms_names_attacks_that_exist():
    assert FIXED_NORMS.keys() <= art_classes().keys()
