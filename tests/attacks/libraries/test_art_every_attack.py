"""Tests that every wrapped attack of ART runs on a small network and agrees with its catalogue entry."""

import importlib.util

import pytest
import torch
from torch import nn

from purebench.attacks.catalogue import ART
from purebench.attacks.libraries.art import from_art
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

pytestmark = pytest.mark.filterwarnings("ignore")
RADIUS = {"linf": 0.1, "l2": 0.8, "l1": 5.0}
TINY = {
    "max_iter": 4,
    "nb_random_init": 1,
    "binary_search_steps": 2,
    "max_eval": 40,
    "init_eval": 10,
    "init_size": 20,
    "nb_steps": 4,
    "num_trial": 5,
    "query_limit": 200,
    "k": 10,
    "num_translations": 2,
    "num_rotations": 3,
}
"""Budgets that only show that an attack runs."""
OVERRIDES = {
    "BoundaryAttack": {"max_iter": 20},
    "CarliniL0Method": {"max_iter": 2},
    "CarliniL2Method": {"max_iter": 10, "learning_rate": 0.1, "initial_const": 1},
    "CarliniLInfMethod": {"max_iter": 8, "initial_const": 1, "largest_const": 1.5, "learning_rate": 0.1},
    "ElasticNet": {"max_iter": 20, "initial_const": 1, "learning_rate": 0.1},
    "GeoDA": {"max_iter": 260, "sub_dim": 3},
    "PixelAttack": {"th": 3, "max_iter": 2},
    "ShadowAttack": {"batch_size": 10},
    "SimBA": {"max_iter": 30, "epsilon": 0.2},
    "ThresholdAttack": {"th": 20, "max_iter": 2},
    "UniversalPerturbation": {"max_iter": 1},
    "VirtualAdversarialMethod": {"max_iter": 1},
    "Wasserstein": {"regularization": 100.0, "conjugate_sinkhorn_max_iter": 20, "projected_sinkhorn_max_iter": 20},
    "ZooAttack": {
        "use_resize": False,
        "use_importance": False,
        "nb_parallel": 16,
        "max_iter": 20,
        "learning_rate": 0.1,
    },
}
SIDE = 12
"""Smallest image side on which every attack works: ART's Square in l2 gives NaN on 8×8 images."""
SLOW = ("AutoAttack", "FeatureAdversariesNumpy")
"""Attacks that are run in one norm only."""
RUNS = [
    (name, norm)
    for name, entry in ART.items()
    if not entry.left_out and not entry.needs
    for norm in (entry.norms[:1] if entry.own or name in SLOW else entry.norms)
]


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(6 * (SIDE // 2) ** 2, 5)
        )

    def forward(self, x):
        return 6 * self.layers(2 * x - 1)


def check_attack_run(name, norm, inside, channels=1):
    """Run one attack on a deterministic defense whose first image is misclassified from the start."""
    with seeded("art", "net"):
        defense, x = as_defense(Net(channels)), torch.rand(3, channels, SIDE, SIDE)
    y = defense(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    attack, entry, view, threat = from_art(name), ART[name], exact(defense), ThreatModel(norm, RADIUS[norm])
    options = {key: value for key, value in (TINY | OVERRIDES.get(name, {})).items() if key in attack.takes}
    with seeded("every", name):
        answer = from_art(name, **options)(view, x, y, threat)
    found, wrong = answer.images, defense(answer.images).argmax(1) != y
    assert answer.nearest != entry.bounded
    if entry.bounded:
        inside(found, x, threat)
        assert not torch.equal(found, x)
    else:
        inside(found, x, ThreatModel(norm, 1000))
        assert torch.equal(found[~wrong], x[~wrong])
    assert (view.backwards > 0) == entry.gradients
    return found, wrong


@pytest.mark.parametrize(("name", "norm"), RUNS)
def test_every_attack_runs_and_agrees_with_its_catalogue_entry(inside, name, norm):
    check_attack_run(name, norm, inside)


@pytest.mark.slow  # compilation takes half a minute
@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")
def test_brendel_bethge_runs_if_numba_is_installed(inside):
    check_attack_run("BrendelBethgeAttack", "l2", inside)


@pytest.mark.skipif(importlib.util.find_spec("kornia") is None, reason="needs kornia")
def test_composite_runs_if_kornia_is_installed(inside):
    check_attack_run("CompositeAdversarialAttackPyTorch", "linf", inside, channels=3)
