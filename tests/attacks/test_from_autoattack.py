"""AutoAttack's own package over a view."""

import random

import numpy as np
import pytest
import torch

from purebench.attacks.from_autoattack import from_autoattack
from purebench.attacks.view import exact
from purebench.errors import PurebenchError
from purebench.seeds import seeded
from purebench.threat import ThreatModel


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.05), ("l2", 0.3)])
def test_standard_breaks_a_deterministic_defense(small, inside, accuracy, norm, radius):
    case, threat = small(images=4), ThreatModel(norm, radius)
    view = exact(case.defense)

    def found(seed):
        with seeded("standard", seed):
            return from_autoattack("standard")(view, case.x, case.y, threat)

    one = found("one")
    inside(one, case.x, threat)
    left = accuracy(case.defense, one, case.y)
    assert left == 0
    assert f"autoattack's own verdict: {int(left * 4)} of 4 hold" in view.notes
    assert torch.equal(one, found("one"))


def test_rand_lowers_a_random_defense_and_says_what_it_believes(small, inside, accuracy):
    case, threat = small(noise=0.2, images=6), ThreatModel("linf", 0.05)
    view = exact(case.defense)
    with seeded("rand"):
        clean = accuracy(case.defense, case.x, case.y, 64)
        found = from_autoattack("rand")(view, case.x, case.y, threat)
        left = accuracy(case.defense, found, case.y, 64)
    inside(found, case.x, threat)
    assert left < clean - 0.2
    assert "autoattack's own verdict" in view.notes[0]


def test_the_callers_generators_are_put_back(small):
    case = small(images=2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with seeded("state"):
        from_autoattack("rand")(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.05))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@pytest.mark.parametrize(("version", "classes", "least"), [("standard", 3, 4), ("standard", 2, 4), ("rand", 2, 3)])
def test_too_few_classes_for_its_losses(small, version, classes, least):
    case = small(classes)
    with pytest.raises(PurebenchError, match=f"at least {least} classes for its DLR losses, but got {classes}"):
        from_autoattack(version)(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.05))


def test_the_least_number_of_classes_works(small):
    for version, classes in (("standard", 4), ("rand", 3)):
        case = small(classes, images=2)
        with seeded("least"):
            from_autoattack(version)(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.2))


def test_an_unknown_version_names_the_nearest():
    with pytest.raises(PurebenchError, match="did you mean 'standard'"):
        from_autoattack("standart")
