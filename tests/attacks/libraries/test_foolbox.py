"""Tests of the wrapped Foolbox attacks: every attack on a small network, closed-form optima, and errors."""

import importlib.util

import pytest
import torch
from torch import nn

from purebench.attacks.catalogue import FOOLBOX
from purebench.attacks.libraries.confirmation import nearest_found
from purebench.attacks.libraries.foolbox import foolbox_classes, from_foolbox
from purebench.attacks.views.gradient_modes import bpda, exact, no_gradient
from purebench.core.answers import Answer
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode
from purebench.defenses.transforms.simple import Quantise

pytestmark = pytest.mark.filterwarnings("ignore")

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.8)
RADIUS = {"linf": 0.1, "l2": 0.8, "l1": 5.0}
SHORT = {"steps": 20, "rel_stepsize": 0.2}
TINY = {
    "steps": 8,
    "directions": 20,
    "binary_search_steps": 4,
    "repeats": 5,
    "initial_gradient_eval_steps": 10,
    "max_gradient_eval_steps": 20,
    "num_translations": 3,
    "num_rotations": 3,
    "population": 4,
}
OVERRIDES = {"BoundaryAttack": {"steps": 60}, "HopSkipJumpAttack": {"steps": 3}, "L2CarliniWagnerAttack": {"steps": 20}}
NUMBA = [name for name, entry in FOOLBOX.items() if entry.needs == "numba"]
RUNS = [
    (name, norm) for name, entry in FOOLBOX.items() if not entry.left_out and not entry.needs for norm in entry.norms
]


def small_budget(name):
    attack = from_foolbox(name)
    return {key: value for key, value in (TINY | OVERRIDES.get(name, {})).items() if key in attack.takes}


def check_attack_run(name, case, threat, inside):
    """Run one attack on a deterministic defense whose first image is misclassified from the start."""
    entry, view = FOOLBOX[name], exact(case.defense)
    y = torch.cat([(case.y[:1] + 1) % 5, case.y[1:]])
    with seeded("every", name):
        answer = from_foolbox(name, **small_budget(name))(view, case.x, y, threat)
    found, wrong = answer.images, case.defense(answer.images).argmax(1) != y
    assert answer.nearest != entry.bounded
    if entry.bounded:
        inside(found, case.x, threat)
    else:
        inside(found, case.x, ThreatModel(threat.norm, 100))
        assert torch.equal(found[~wrong], case.x[~wrong])
    within = threat.size(found - case.x) <= threat.radius * 1.0001
    if name == "GenAttack":  # claims only images that reached the target class
        assert (wrong | ~answer.claims).all()
    else:
        assert (wrong | ~answer.claims).all()
        assert torch.equal(answer.claims[within], wrong[within]) or not entry.bounded
    assert wrong[0]
    assert (view.backwards > 0) == entry.gradients


@pytest.mark.parametrize(("name", "norm"), RUNS)
def test_every_attack_runs_and_agrees_with_its_catalogue_entry(small, inside, name, norm):
    check_attack_run(name, small(images=4), ThreatModel(norm, RADIUS[norm]), inside)


@pytest.mark.slow  # compilation takes half a minute
@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")
@pytest.mark.parametrize("name", NUMBA)
def test_attacks_that_need_numba_run_if_it_is_installed(small, inside, name):
    norm = FOOLBOX[name].norms[-1]
    check_attack_run(name, small(images=4), ThreatModel(norm, RADIUS[norm]), inside)


@pytest.mark.skipif(importlib.util.find_spec("numba") is not None, reason="numba is installed")
def test_a_missing_package_is_named_in_the_error(small):
    case = small(images=2)
    with pytest.raises(PurebenchError, match=r"L2BrendelBethgeAttack: expected the package numba.*pip install numba"):
        from_foolbox("L2BrendelBethgeAttack")(exact(case.defense), case.x, case.y, L2)


@pytest.mark.parametrize(
    ("name", "options", "threat"),
    [("LinfPGD", SHORT, LINF), ("L2PGD", SHORT, L2), ("L1PGD", SHORT, ThreatModel("l1", 5)), ("FGSM", {}, LINF)],
)
def test_bounded_attacks_break_a_deterministic_defense(small, inside, accuracy, name, options, threat):
    case = small(images=20)

    def found(seed):
        with seeded("foolbox", seed):
            return from_foolbox(name, **options)(exact(case.defense), case.x, case.y, threat).images

    one = found("one")
    inside(one, case.x, threat)
    assert accuracy(case.defense, one, case.y) <= 0.5
    assert torch.equal(one, found("one"))


MINIMUM_NORM = [
    ("L2CarliniWagnerAttack", {"steps": 200, "binary_search_steps": 6}, "l2"),
    ("DDNAttack", {"steps": 100}, "l2"),
    ("L2DeepFoolAttack", {}, "l2"),
    ("LinfDeepFoolAttack", {}, "linf"),
    ("L2FMNAttack", {"steps": 200, "max_stepsize": 0.3}, "l2"),
    ("LInfFMNAttack", {"steps": 200, "max_stepsize": 0.5}, "linf"),
]


@pytest.mark.parametrize(("name", "options", "norm"), MINIMUM_NORM)
@pytest.mark.parametrize("classes", [2, 5])
def test_minimum_norm_attacks_find_the_optimum_of_a_linear_classifier(linear, name, options, norm, classes):
    case = linear(classes, norm, images=20, spread=True)
    threat = ThreatModel(norm, 1.05 * float(case.distance.median()))
    with seeded("nearest"):
        answer = from_foolbox(name, **options)(exact(case.defense), case.x, case.y, threat)
    found = case.defense(answer.images).argmax(1) != case.y
    ratio = (threat.size(answer.images - case.x) / case.distance)[found]
    # FMN may stop exactly on the decision boundary, where the image is still classified correctly
    assert found.float().mean() >= (0.8 if "FMN" in name else 1)
    assert ratio.min() >= 0.999
    assert ratio.max() <= 1.05
    assert (found | ~answer.claims).all()  # claimed images are misclassified, at any distance


def test_the_original_foolbox_l2_fmn_misses_the_optimum(linear):
    """The fault that the wrapper corrects: without a projection the perturbation never shrinks."""
    from foolbox.models.pytorch import PyTorchModel

    case, attack = (
        linear(5, "l2", images=20, spread=True),
        foolbox_classes()["L2FMNAttack"](steps=200, max_stepsize=0.3),
    )
    model = PyTorchModel(exact(case.defense).as_module(), bounds=(0, 1))
    _, found, _ = attack(model, case.x, case.y, epsilons=None)
    assert ((found - case.x).flatten(1).norm(dim=1) / case.distance).max() > 1.5


def test_without_an_adversarial_example_the_original_image_is_returned(small):
    case = small(images=6)
    for name in ("L2CarliniWagnerAttack", "EADAttack"):
        attack = from_foolbox(name, steps=1, binary_search_steps=1)
        norm = FOOLBOX[name].norms[0]
        answer = attack(exact(case.defense), case.x, case.y, ThreatModel(norm, RADIUS[norm]))
        assert torch.equal(answer.images, case.x)
        assert not answer.claims.any()


@pytest.mark.parametrize(
    ("name", "options", "threat"),
    [
        ("LinfPGD", SHORT, LINF),
        ("L2PGD", SHORT, L2),
        ("L2DeepFoolAttack", {"steps": 10}, L2),
        ("HopSkipJumpAttack", {**TINY, "steps": 4}, ThreatModel("l2", 3)),
    ],
)
def test_attacks_lower_the_accuracy_of_a_random_defense(small, accuracy, name, options, threat):
    case = small(noise=0.2, images=20)
    view = exact(case.defense, eot=8)
    options = {key: value for key, value in options.items() if key in from_foolbox(name).takes}
    with seeded("random"):
        clean = accuracy(case.defense, case.x, case.y, 32)
        found = from_foolbox(name, **options)(view, case.x, case.y, threat).images
        left = accuracy(case.defense, threat.project(found, case.x), case.y, 32)
    assert left < clean - 0.15
    assert "sees the mean of the draws' log-probabilities" in view.notes


class NoisyBrightness(nn.Module):
    """Random logits whose largest class is 1 for bright images and 0 for all others."""

    def forward(self, x):
        logits = torch.randn(len(x), 5) / 100
        bright = x.flatten(1).mean(1) > 0.9
        return logits + torch.stack([(~bright).float(), bright.float(), *[torch.zeros(len(x))] * 3], 1)


@pytest.mark.parametrize("name", ["BoundaryAttack", "HopSkipJumpAttack", "PointwiseAttack"])
def test_images_without_a_starting_point_are_returned_unchanged(name):
    """Uniform noise is never bright; only a bright second image in the batch gives the others a starting point."""
    defense = as_defense(NoisyBrightness(), random=True)
    x, threat = torch.full((3, 1, 8, 8), 0.4), ThreatModel("l2", 0.5)
    y, alone = torch.zeros(3, dtype=torch.long), exact(defense)
    fast = small_budget(name) | ({"l2_binary_search": False} if name == "PointwiseAttack" else {})
    with seeded("alone"):
        answer = from_foolbox(name, **fast)(alone, x, y, threat)
    assert torch.equal(answer.images, x)
    assert not answer.claims.any()
    assert (WarningCode.NO_STARTING_POINT, 3, 3) in [(one.code, one.count, one.of) for one in alone.warnings]
    x[1], y[1] = 0.95, 1
    helped = exact(defense)
    with seeded("helped"):
        answer = from_foolbox(name, **fast)(helped, x, y, threat)
    assert (defense(answer.images).argmax(1) != y).all()
    assert (threat.size(answer.images - x) > 0).all()
    assert WarningCode.NO_STARTING_POINT not in [one.code for one in helped.warnings]


def test_the_seed_determines_the_fixed_draws(small):
    case = small(noise=0.2, images=4)

    def found(seed):
        with seeded("held", seed):
            return from_foolbox("BoundaryAttack", steps=30)(exact(case.defense), case.x, case.y, L2).images

    assert torch.equal(found("a"), found("a"))
    assert not torch.equal(found("a"), found("b"))


def test_bpda_breaks_a_purifier_with_zero_gradient_and_exact_does_not(small, accuracy):
    case = small(images=20)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        naive, through = (
            from_foolbox("LinfPGD", random_start=False, **SHORT)(view(defense), case.x, y, LINF).images
            for view in (exact, bpda)
        )
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


@pytest.mark.parametrize(
    ("name", "threat", "message"),
    [
        ("L2PGD", LINF, "expected the norm l2, but the board's is linf"),
        ("LinfPGD", L2, "expected the norm linf, but the board's is l2"),
        ("L1PGD", L2, "expected the norm l1, but the board's is l2"),
        ("HopSkipJumpAttack", ThreatModel("l1", 5), "expected the norm linf or l2, but the board's is l1"),
    ],
)
def test_an_attack_for_another_norm_is_rejected_before_any_pass(small, name, threat, message):
    case = small()
    view = exact(case.defense)
    with pytest.raises(PurebenchError, match=message):
        from_foolbox(name)(view, case.x, case.y, threat)
    assert view.forwards == 0


def test_decision_based_attacks_need_no_gradient(small):
    case = small(images=4)
    for name in ("HopSkipJumpAttack", "BoundaryAttack", "PointwiseAttack"):
        from_foolbox(name, **small_budget(name))(no_gradient(case.defense), case.x, case.y, L2)


def test_unknown_names_and_parameters_are_rejected():
    with pytest.raises(PurebenchError, match=r"did you mean .*'LinfPGD'"):
        from_foolbox("LinfPDG")
    with pytest.raises(PurebenchError, match="did you mean 'steps'"):
        from_foolbox("LinfPGD", step=3)
    with pytest.raises(PurebenchError, match="'init_attack' is unknown"):
        from_foolbox("BoundaryAttack", init_attack="SaltAndPepperNoiseAttack")
    with pytest.raises(PurebenchError, match="only refines images that other attacks found"):
        from_foolbox("BinarizationRefinementAttack")


def test_a_point_just_short_of_the_boundary_is_moved_outwards(linear):
    """A point just short of the boundary is moved beyond it; a point far from it is discarded."""
    case = linear(2, "l2", images=4)
    with seeded("outwards"):
        found = from_foolbox("L2DeepFoolAttack", overshoot=0.0)(exact(case.defense), case.x, case.y, L2).images
    view, short = exact(case.defense), torch.tensor([1 - 5e-4, 1 - 5e-3, 0.9, 1.1])[:, None, None, None]
    answer = nearest_found(view, case.x, case.y, Answer(case.x + short * (found - case.x)))
    ratio = L2.size(answer.images - case.x) / case.distance
    assert ratio.tolist() == pytest.approx([1.0005, 1.005, 0, 1.1], abs=1e-3)
    assert torch.equal(case.defense(answer.images).argmax(1) != case.y, ratio > 0)


def test_an_empty_batch_returns_an_empty_batch(small):
    case = small(images=2)
    answer = from_foolbox("LinfPGD")(exact(case.defense), case.x[:0], case.y[:0], LINF)
    assert answer.images.shape == (0, 1, 8, 8)
