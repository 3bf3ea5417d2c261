"""Tests of the wrapped ART attacks: strength, settings, errors, and restored global state."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from purebench.attacks.catalogue import ART
from purebench.attacks.libraries.art import AUTO, Lost, art_classes, from_art, guides, holding, surroundings
from purebench.attacks.views.gradient_modes import bpda, exact, no_gradient
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.defenses.transforms.simple import Quantise

pytestmark = pytest.mark.filterwarnings("ignore")
LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.8)
RADIUS = {"linf": 0.1, "l2": 0.8, "l1": 5.0}
HOP = {"max_iter": 3, "max_eval": 60, "init_eval": 20, "init_size": 20}


@pytest.mark.parametrize(
    ("package", "name"), [("numba", "BrendelBethgeAttack"), ("kornia", "CompositeAdversarialAttackPyTorch")]
)
def test_a_missing_package_is_named_in_the_error(small, package, name):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    case = small(images=2)
    with pytest.raises(PurebenchError, match=rf"art:{name}: expected the package {package}.*pip install {package}"):
        from_art(name)(exact(case.defense), case.x, case.y, LINF)


STRONG = [
    ("ProjectedGradientDescent", {"max_iter": 15}, LINF),
    ("ProjectedGradientDescent", {"max_iter": 15}, L2),
    ("FastGradientMethod", {}, L2),
    ("AutoProjectedGradientDescent", {"max_iter": 10, "nb_random_init": 1}, LINF),
    ("AutoProjectedGradientDescent", {"max_iter": 10, "nb_random_init": 1}, ThreatModel("l1", 5)),
    ("MomentumIterativeMethod", {"max_iter": 10}, LINF),
    ("HopSkipJump", HOP, ThreatModel("linf", 0.2)),
    ("SquareAttack", {"max_iter": 60}, LINF),
    ("DeepFool", {"max_iter": 20}, L2),
    ("NewtonFool", {"max_iter": 20}, L2),
    ("SaliencyMapMethod", {}, ThreatModel("l1", 5)),
]


@pytest.mark.parametrize(("name", "options", "threat"), STRONG)
def test_attacks_break_a_deterministic_defense_reproducibly(small, accuracy, name, options, threat):
    case = small(images=10)

    def found(seed):
        with seeded("art", seed):
            return from_art(name, **options)(exact(case.defense), case.x, case.y, threat).images

    one = found("one")
    assert accuracy(case.defense, threat.project(one, case.x), case.y) <= 0.6
    assert torch.equal(one, found("one"))


@pytest.mark.parametrize("classes", [2, 5])
def test_minimum_norm_attacks_find_the_optimum_of_a_linear_classifier(linear, classes):
    case = linear(classes, "l2", images=4, spread=True)
    runs = (("DeepFool", {}), ("CarliniL2Method", {"max_iter": 40, "binary_search_steps": 5, "initial_const": 0.1}))
    for name, options in runs if classes == 5 else runs[:1]:
        with seeded("nearest"):
            answer = from_art(name, **options)(exact(case.defense), case.x, case.y, L2)
        ratio = L2.size(answer.images - case.x) / case.distance
        assert (case.defense(answer.images).argmax(1) != case.y).all()
        assert 0.999 <= ratio.min() <= ratio.max() <= 1.05


@pytest.mark.parametrize(
    ("name", "options", "threat"),
    [STRONG[0], STRONG[2], ("HopSkipJump", HOP, ThreatModel("l2", 2.5))],
)
def test_attacks_lower_the_accuracy_of_a_random_defense(small, accuracy, name, options, threat):
    case = small(noise=0.2, images=16)
    view = exact(case.defense, eot=4)
    with seeded("random"):
        clean = accuracy(case.defense, case.x, case.y, 32)
        found = from_art(name, **options)(view, case.x, case.y, threat).images
        left = accuracy(case.defense, threat.project(found, case.x), case.y, 32)
    assert left < clean - 0.05
    assert "sees the mean of the draws' log-probabilities" in view.notes


def test_hop_skip_jump_returns_the_original_image_if_it_loses_the_boundary(small, monkeypatch):
    """HopSkipJump may divide by a distance of zero on a random defense; for other attacks, NaN queries are an error."""
    from art.attacks import evasion

    case = small(noise=0.2, images=3)

    def query_nan(self, x, y=None, **kwargs):
        return self.estimator.predict(x * np.nan)

    for kind in (evasion.HopSkipJump, evasion.SquareAttack):
        monkeypatch.setattr(kind, "generate", query_nan)
    view = exact(case.defense)
    answer = from_art("HopSkipJump")(view, case.x, case.y, LINF)
    assert torch.equal(answer.images, case.x)
    assert "images on which the attack lost the decision boundary are returned unchanged" in view.notes
    with pytest.raises(Lost, match="expected finite images, but the attack queried one with NaN or infinity"):
        from_art("SquareAttack")(view, case.x, case.y, LINF)


def test_a_failing_sub_attack_of_autoattack_raises(small, monkeypatch):
    """ART only logs the failure, so the images would count as robust: its targeted runs catch every ValueError."""
    from art.attacks import evasion

    case, ran = small(images=3), []

    def fails(self, x, y=None, **kwargs):
        ran.append(self.targeted)
        if self.targeted:
            raise ValueError("out of tune")
        return x.copy()

    for kind in (evasion.AutoProjectedGradientDescent, evasion.DeepFool, evasion.SquareAttack):
        monkeypatch.setattr(kind, "generate", fails)
    with pytest.raises(RuntimeError, match="a sub-attack failed: out of tune"):
        from_art("AutoAttack", targeted=True)(exact(case.defense), case.x, case.y, LINF)
    assert ran == [False] * 4 + [True]
    assert torch.equal(from_art("AutoAttack")(exact(case.defense), case.x, case.y, LINF).images, case.x)


def test_bpda_breaks_a_purifier_with_zero_gradient_and_exact_does_not(small, accuracy):
    case = small(images=16)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        naive, through = (
            from_art("ProjectedGradientDescent", max_iter=15)(view(defense), case.x, y, LINF).images
            for view in (exact, bpda)
        )
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


def test_decision_and_score_based_attacks_need_no_gradient(small):
    case = small(images=2)
    for name, options in (("HopSkipJump", HOP), ("SquareAttack", {"max_iter": 5}), ("SimBA", {"max_iter": 5})):
        norm = ART[name].norms[-1] if name == "SimBA" else "linf"
        from_art(name, **options)(no_gradient(case.defense), case.x, case.y, ThreatModel(norm, RADIUS[norm]))


@pytest.mark.parametrize(
    ("name", "threat", "message"),
    [
        ("DeepFool", LINF, "expected the norm l2, but the board's is linf"),
        ("BasicIterativeMethod", L2, "expected the norm linf, but the board's is l2"),
        ("SquareAttack", ThreatModel("l1", 5), "expected the norm linf or l2, but the board's is l1"),
    ],
)
def test_an_attack_for_another_norm_is_rejected_before_any_pass(small, name, threat, message):
    case = small()
    view = exact(case.defense)
    with pytest.raises(PurebenchError, match=message):
        from_art(name)(view, case.x, case.y, threat)
    assert view.forwards == 0


def test_norm_radius_and_step_come_from_the_threat_unless_given():
    assert from_art("ProjectedGradientDescent").settings(L2) == {
        "verbose": False,
        "targeted": False,
        "norm": 2,
        "eps": 0.8,
        "eps_step": pytest.approx(0.2),
    }
    assert from_art("ProjectedGradientDescent", eps_step=0.5).settings(L2)["eps_step"] == 0.5
    # the first step of Auto-PGD is twice the radius
    assert from_art("AutoProjectedGradientDescent").settings(L2)["eps_step"] == pytest.approx(1.6)
    assert from_art("NewtonFool").settings(L2, 7) == {"verbose": False, "batch_size": 7}
    assert from_art("FeatureAdversariesPyTorch").settings(LINF)["delta"] == 0.1
    universal = from_art("UniversalPerturbation").settings(LINF)
    assert ("delta" in universal, universal["eps"]) == (False, 0.1)
    assert not {"norm", "eps"} & from_art("Wasserstein").settings(LINF).keys()


def test_guides_are_images_of_another_class():
    x = torch.arange(4.0)[:, None]
    assert guides(x, torch.tensor([0, 0, 1, 0]))[:, 0].tolist() == [2, 2, 3, 2]
    assert guides(x, torch.zeros(4, dtype=torch.long))[:, 0].tolist() == [0, 1, 2, 3]


def test_patched_globals_are_restored():
    before = np.random.RandomState, vars(np).get("mat"), sys.modules.get("multiprocess")
    with surroundings():
        assert np.random.RandomState is not before[0]
    assert before == (np.random.RandomState, vars(np).get("mat"), sys.modules.get("multiprocess"))
    names = {"a": 1}
    with holding(names, "a", 2), holding(names, "b", 3):
        assert names == {"a": 2, "b": 3}
    assert names == {"a": 1}


def test_geoda_leaves_no_files(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = small(images=2)
    from_art("GeoDA", max_iter=260, sub_dim=3)(no_gradient(case.defense), case.x, case.y, L2)
    assert not list(tmp_path.iterdir())
    assert Path.cwd() == tmp_path


def test_unknown_names_and_parameters_are_rejected():
    with pytest.raises(PurebenchError, match="did you mean 'HopSkipJump'"):
        from_art("HopSkipJmp")
    with pytest.raises(PurebenchError, match="did you mean 'max_iter'"):
        from_art("HopSkipJump", maxiter=3)
    for key in ("targeted", "norm"):
        with pytest.raises(PurebenchError, match=f"the parameter '{key}' is unknown"):
            from_art("ProjectedGradientDescent", **{key: True})
    with pytest.raises(PurebenchError, match="is not supported, because it attacks speech recognisers"):
        from_art("ImperceptibleASR")


def test_every_offered_attack_exists_in_art():
    assert {name for name, entry in ART.items() if not entry.left_out and not entry.needs} <= art_classes().keys()


def test_an_empty_batch_returns_an_empty_batch(small):
    case = small(images=2)
    assert from_art("DeepFool")(exact(case.defense), case.x[:0], case.y[:0], L2).images.shape == (0, 1, 8, 8)


@pytest.mark.parametrize("name", ["AutoAttack", "AutoProjectedGradientDescent"])
def test_the_dlr_loss_is_inapplicable_to_two_classes(small, name):
    options = {} if name == "AutoAttack" else {"loss_type": "difference_logits_ratio"}
    case = small(2, images=2)
    with pytest.raises(Inapplicable, match="at least 3 classes for its DLR loss, but got 2"):
        from_art(name, **options)(exact(case.defense), case.x, case.y, LINF)


@pytest.mark.parametrize("name", AUTO)
def test_attacks_that_return_their_random_start_are_for_deterministic_defenses_seen_as_a_whole(small, name):
    """ART drops the best point that it found if the last answer is right, by chance or through another model."""
    case, noisy = small(images=2), small(images=2, noise=0.1)
    apart = exact(case.defense)
    apart.decides = False
    for view in (exact(noisy.defense), apart):
        with pytest.raises(Inapplicable, match="returns its random start"):
            from_art(name)(view, case.x, case.y, LINF)
