"""Tests of the wrapped autoattack package: the same images as the package itself, errors and side effects."""

import logging
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

from purebench.attacks.catalogue import AUTOATTACK
from purebench.attacks.libraries.autoattack import FOR_RANDOM, VERSIONS, from_autoattack, most_wrong, shorten
from purebench.attacks.libraries.model_wrapper import Asked
from purebench.attacks.views.gradient_modes import exact
from purebench.core.answers import Inapplicable
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.third_party import autoattack
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode

LINF = ThreatModel("linf", 0.05)
QUICK = {"steps": 8, "n_queries": 20}
RADIUS = {"linf": 0.03, "l2": 0.25, "l1": 1.5}
LOGGER = logging.getLogger("auto-attack")


class Net(nn.Module):
    """A small smooth network on 16×16 images; Square in l1 and l2 needs at least ten pixels per side."""

    def __init__(self, classes=5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=4, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(96, classes)
        )

    def forward(self, x):
        return 6 * self.layers(2 * x - 1)


@pytest.fixture
def larger():
    """A deterministic defense on 16×16 images, some of which are misclassified from the start."""
    with seeded("larger"):
        defense, x = as_defense(Net()), torch.rand(16, 1, 16, 16)
        return defense, x, torch.where(torch.rand(16) < 0.1, 0, defense(x).argmax(1))


COMPARISONS = [(name, "linf") for name in AUTOATTACK]
COMPARISONS += [(name, norm) for norm in ("l2", "l1") for name in ("standard", "apgd-t", "fab", "square")]


@pytest.mark.parametrize(("name", "norm"), COMPARISONS)
def test_the_wrapper_returns_the_same_images_as_the_package(larger, inside, name, norm):
    """Same seed and batch; the package is called directly with its own settings except for the budgets."""
    defense, x, y = larger
    threat, whole = ThreatModel(norm, RADIUS[norm]), name in VERSIONS
    with seeded("same", name):
        answer = from_autoattack(name, **QUICK)(exact(defense), x, y, threat)
    with seeded("same", name):
        package = autoattack().AutoAttack(
            defense,
            norm=norm.capitalize(),
            eps=threat.radius,
            version=name if whole else "standard",
            seed=int(torch.randint(2**31 - 1, ())),
        )
        package.verbose = False
        package.attacks_to_run = package.attacks_to_run if whole else [name]
        package.fab.n_iter, package.square.n_queries = QUICK["steps"], QUICK["n_queries"]
        package.fab.n_target_classes = package.apgd_targeted.n_target_classes = 4
        for part in (package.apgd, package.apgd_targeted):
            shorten(part, QUICK["steps"])
        found, answers = package.run_standard_evaluation(x, y, batch_size=len(x))
    assert torch.equal(answer.claims, answers != y)
    assert torch.equal(answer.images, found)
    assert torch.equal(answer.claims, defense(answer.images).argmax(1) != y)
    assert torch.equal(answer.images[~answer.claims], x[~answer.claims])
    if name != "square":  # 20 queries break almost no image
        assert 0.2 < answer.claims.float().mean() < 1
    inside(answer.images, x, ThreatModel(norm, threat.radius * (1 + 1e-4)))


def test_default_budgets_are_those_of_the_package(small):
    for name, steps, eot, queries in (("standard", 100, 1, 5000), ("rand", 100, 20, 5000), ("plus", 100, 1, 5000)):
        case = small()
        view = exact(case.defense)
        package = from_autoattack(name).package(view, Asked(view, case.x, case.y), LINF, 5)
        assert (package.apgd.n_iter, package.fab.n_iter, package.apgd.eot_iter) == (steps, steps, eot)
        assert package.square.n_queries == queries
    fresh = package.apgd.n_iter_2, package.apgd.n_iter_min, package.apgd.size_decr
    shorten(package.apgd, 100)
    assert fresh == (package.apgd.n_iter_2, package.apgd.n_iter_min, package.apgd.size_decr)


@pytest.mark.parametrize("name", FOR_RANDOM)
def test_accuracy_of_a_random_defense_falls_and_claims_hold_on_fresh_draws(small, inside, accuracy, name):
    case = small(noise=0.2, images=8)
    view = exact(case.defense)
    with seeded("rand"):
        clean = accuracy(case.defense, case.x, case.y, 64)
        answer = from_autoattack(name, steps=15, eot=5)(view, case.x, case.y, LINF)
        left = accuracy(case.defense, answer.images, case.y, 64)
        share = sum((case.defense(answer.images).argmax(1) != case.y).float() for _ in range(64)) / 64
    inside(answer.images, case.x, LINF)
    assert left < clean - 0.2
    assert torch.equal(answer.claims[(share - 0.5).abs() > 0.25], (share > 0.5)[(share - 0.5).abs() > 0.25])


def test_every_part_attacks_every_image_of_a_random_defense(small, monkeypatch):
    """The package skips images that are wrong in one pass; the wrapper gives all images to both parts."""
    package, seen = autoattack(), []
    case = small(noise=0.5, images=12)
    kind = type(package.AutoAttack(case.net, eps=0.1).apgd)
    real = kind.attack_single_run
    monkeypatch.setattr(kind, "attack_single_run", lambda self, x, y: seen.append(len(x)) or real(self, x, y))
    with seeded("all"):
        from_autoattack("rand", steps=2, eot=2)(exact(case.defense), case.x, case.y, LINF)
    assert seen == [12, 12]
    assert (case.defense(case.x).argmax(1) != case.y).any()


def test_images_of_a_random_defense_are_attacked_further_after_a_wrong_draw(small, accuracy):
    """The package keeps the point of the first wrong pass; on fresh draws the wrapper's points are stronger."""
    case = small(noise=0.2, images=64)
    with seeded("lucky"):
        ours = from_autoattack("rand", steps=20, eot=8)(exact(case.defense), case.x, case.y, LINF).images
        package = autoattack().AutoAttack(case.defense, norm="Linf", eps=0.05, version="rand", seed=1)
        package.verbose, package.apgd.eot_iter = False, 8
        shorten(package.apgd, 20)
        theirs, _ = package.run_standard_evaluation(case.x, case.y, batch_size=64)
        left = [accuracy(case.defense, found, case.y, 64) for found in (ours, theirs)]
    assert left[0] < left[1] - 0.1  # 26 % against 48 %


def test_most_wrong_returns_the_point_with_the_lowest_accuracy(small):
    case = small(noise=0.05, images=6)
    wrong = torch.where((case.y == 0)[:, None, None, None], case.x.flip(0), case.x.roll(1, 0))
    with seeded("most"):
        for order in ([case.x, wrong, case.x], [wrong, case.x]):
            found, claims = most_wrong(exact(case.defense), case.y, iter(order))
            shares = [
                sum((case.defense(points).argmax(1) != case.y).float() for _ in range(64)) / 64
                for points in (case.x, wrong)
            ]
            clear = (shares[0] - shares[1]).abs() > 0.5
            better = torch.where((shares[1] > shares[0])[:, None, None, None], wrong, case.x)
            assert clear.any()
            assert torch.equal(found[clear], better[clear])
            assert torch.equal(claims[clear], torch.maximum(*shares)[clear] > 0.5)


@pytest.mark.parametrize("name", sorted(AUTOATTACK.keys() - set(FOR_RANDOM)))
def test_attacks_without_eot_are_inapplicable_to_random_defenses(small, name):
    case = small(noise=0.2)
    with pytest.raises(Inapplicable, match="use autoattack:rand"):
        from_autoattack(name)(exact(case.defense), case.x, case.y, LINF)


@pytest.mark.parametrize("part", ["apgd", "fab", "square"])
def test_a_failing_part_raises_and_tracing_and_log_handlers_are_restored(small, monkeypatch, part):
    case = small(images=3)
    kind = type(vars(autoattack().AutoAttack(case.net, eps=1e-6))[part])

    def fails(*_, **__):
        raise ValueError("out of tune")

    monkeypatch.setattr(kind, "perturb", fails)
    before = sys.gettrace(), list(LOGGER.handlers)
    name = {"apgd": "apgd-ce"}.get(part, part)
    with pytest.raises(ValueError, match="out of tune"):
        from_autoattack(name, **QUICK)(exact(case.defense), case.x, case.y, ThreatModel("linf", 1e-6))
    assert (sys.gettrace(), LOGGER.handlers) == before


def test_tracing_is_restored_after_a_failing_defense(small):
    """The package turns on Python's tracing for a pass and would leave it on."""
    case, calls = small(images=3), []

    def fails_late(x):
        calls.append(len(x))
        if sys.gettrace() is not None and sys.gettrace() is not before:
            raise RuntimeError("in the dynamic check")
        return case.net(x)

    before = sys.gettrace()
    with pytest.raises(RuntimeError, match="in the dynamic check"):
        from_autoattack("apgd-ce", **QUICK)(exact(as_defense(fails_late)), case.x, case.y, LINF)
    assert sys.gettrace() is before


def test_package_warnings_become_view_warnings(caplog):
    """The package warns of a classifier that returns probabilities."""
    with seeded("notes"):
        net, x = Net().requires_grad_(False), torch.rand(3, 1, 16, 16)
    view = exact(as_defense(lambda images: net(images).softmax(1)))
    from_autoattack("apgd-ce", **QUICK)(view, x, net(x).argmax(1), ThreatModel("linf", 0.001))
    assert (
        "autoattack: it seems that the output is a probability distribution, please be sure that the logits are used"
        in [warning.text for warning in view.warnings if warning.code is WarningCode.LIBRARY]
    )


def test_the_seed_determines_the_result_and_global_generators_are_restored(small):
    case = small(noise=0.2, images=4)

    def found(seed):
        with seeded("seed", seed):
            return from_autoattack("rand", steps=4, eot=2)(exact(case.defense), case.x, case.y, LINF).images

    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert torch.equal(found("a"), found("a"))
    assert not torch.equal(found("a"), found("b"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


MINIMUM_CLASSES = [
    ("standard", 4),
    ("plus", 4),
    ("rand", 3),
    ("apgd-t", 4),
    ("apgd-dlr", 3),
    ("apgd-ce", 2),
    ("fab", 2),
]


@pytest.mark.parametrize(("name", "least"), [*MINIMUM_CLASSES, ("fab-t", 2), ("square", 2)])
def test_the_minimum_number_of_classes_works_and_fewer_are_inapplicable(small, name, least):
    case = small(least, images=2)
    with seeded("least"):
        from_autoattack(name, **QUICK)(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.001))
    if least > 2:
        case = small(least - 1)
        with pytest.raises(Inapplicable, match=f"at least {least} classes for its DLR losses, but got {least - 1}"):
            from_autoattack(name)(exact(case.defense), case.x, case.y, LINF)


def test_unknown_names_and_invalid_parameters_are_rejected():
    with pytest.raises(PurebenchError, match="did you mean 'standard'"):
        from_autoattack("standart")
    with pytest.raises(PurebenchError, match="steps: expected a whole number of at least 1, but got 0"):
        from_autoattack("standard", steps=0)


def test_an_empty_batch_returns_an_empty_batch(small):
    case = small(images=2)
    assert from_autoattack()(exact(case.defense), case.x[:0], case.y[:0], LINF).images.shape == (0, 1, 8, 8)


def test_a_view_that_does_not_decide_is_refused(larger):
    """The package returns the image itself where the view withstands, although the defense may not."""
    defense, x, y = larger
    view = exact(defense)
    view.decides = False
    with pytest.raises(Inapplicable, match="expected a view of the whole defense"):
        from_autoattack("apgd-ce", steps=2)(view, x, y, LINF)
