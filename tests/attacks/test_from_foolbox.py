"""Foolbox's attacks over a view: gradient and decision-based, both norms, and what is refused."""

import pytest
import torch

from purebench.attacks.from_foolbox import foolbox_classes, from_foolbox
from purebench.attacks.view import bpda, exact, no_gradient
from purebench.defense import Defense, as_defense
from purebench.defenses.transforms import Quantise
from purebench.errors import PurebenchError
from purebench.seeds import seeded
from purebench.threat import ThreatModel

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.8)
SHORT = {"steps": 20, "rel_stepsize": 0.2}
HOP = {"steps": 4, "initial_gradient_eval_steps": 20, "max_gradient_eval_steps": 60}
RUNS = [
    ("LinfPGD", SHORT, LINF),
    ("LinfFastGradientAttack", {}, LINF),
    ("LinfDeepFoolAttack", {"steps": 10}, LINF),
    ("HopSkipJumpAttack", HOP, LINF),
    ("L2PGD", SHORT, L2),
    ("L2DeepFoolAttack", {"steps": 10}, L2),
    ("BoundaryAttack", {"steps": 300}, L2),
    ("HopSkipJumpAttack", HOP, L2),
]
NEEDS_NONE = ("BoundaryAttack", "HopSkipJumpAttack")


@pytest.mark.parametrize(("name", "options", "threat"), RUNS)
def test_it_breaks_a_deterministic_defense_within_the_threat_model(small, inside, accuracy, name, options, threat):
    case = small(images=20)
    view = (no_gradient if name in NEEDS_NONE else exact)(case.defense)

    def found(seed):
        with seeded("foolbox", seed):
            return from_foolbox(name, **options)(view, case.x, case.y, threat)

    one = found("one")
    inside(one, case.x, threat)
    assert accuracy(case.defense, one, case.y) <= 0.6
    assert torch.equal(one, found("one"))
    assert (view.backwards > 0) == (name not in NEEDS_NONE)


@pytest.mark.parametrize(("name", "options", "threat"), [RUNS[0], RUNS[4], RUNS[5]])
def test_it_runs_over_a_random_defense(small, inside, accuracy, name, options, threat):
    case = small(noise=0.2, images=20)
    view = exact(case.defense, eot=4)
    with seeded("random"):
        clean = accuracy(case.defense, case.x, case.y, 32)
        found = from_foolbox(name, **options)(view, case.x, case.y, threat)
        left = accuracy(case.defense, found, case.y, 32)
    inside(found, case.x, threat)
    assert left < clean - 0.15
    assert view.notes == ["sees the mean of the draws' log-probabilities"]


def test_its_decision_based_attacks_give_up_on_a_random_defense_with_a_reason(small):
    """They start from points that must all be wrong when asked again; the runner records the reason as ERRORED."""
    case = small(noise=0.2, images=20)
    with seeded("boundary"), pytest.raises(ValueError, match="init_attack failed for"):
        from_foolbox("BoundaryAttack", steps=20)(exact(case.defense), case.x, case.y, L2)


def test_bpda_is_what_lets_it_through_a_purifier_without_a_gradient(small, accuracy):
    case = small(images=20)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        naive, through = (
            from_foolbox("LinfPGD", random_start=False, **SHORT)(view(defense), case.x, y, LINF)
            for view in (exact, bpda)
        )
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


@pytest.mark.parametrize(
    ("name", "threat", "told"),
    [
        ("L2PGD", LINF, "expected an attack in linf, but it measures the L2 distance"),
        ("LinfPGD", L2, "expected an attack in l2, but it measures the Linf distance"),
        ("L1PGD", L2, "L1 distance"),
        ("BoundaryAttack", LINF, "L2 distance"),
        ("SpatialAttack", LINF, "no distance"),
    ],
)
def test_an_attack_of_another_norm_is_refused(small, name, threat, told):
    case = small()
    view = exact(case.defense)
    with pytest.raises(PurebenchError, match=told):
        from_foolbox(name)(view, case.x, case.y, threat)
    assert view.forwards == 0


@pytest.mark.parametrize("threat", [LINF, L2])
def test_an_attack_that_lets_its_distance_be_chosen_takes_the_threats(small, inside, threat):
    case = small()
    for name in ("HopSkipJumpAttack", "GaussianBlurAttack"):
        with seeded("chosen"):
            inside(
                from_foolbox(name, **(HOP if "Hop" in name else {}))(exact(case.defense), case.x, case.y, threat),
                case.x,
                threat,
            )


def test_unknown_names_and_parameters_name_the_nearest():
    with pytest.raises(PurebenchError, match=r"did you mean .*'LinfPGD'"):
        from_foolbox("LinfPDG")
    with pytest.raises(PurebenchError, match="did you mean 'steps'"):
        from_foolbox("LinfPGD", step=3)


def test_abstract_classes_are_not_offered():
    assert "Attack" not in foolbox_classes()
    assert {"LinfPGD", "L2CarliniWagnerAttack", "BoundaryAttack"} <= foolbox_classes().keys()
