"""Tests of every native attack on linear classifiers, whose least perturbation is known in closed form."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from purebench.attacks.best import Best
from purebench.attacks.black_box.square import Square, bump
from purebench.attacks.gradient.apgd import APGD, apgd_t
from purebench.attacks.gradient.md import MD
from purebench.attacks.gradient.pgd import PGD, Clean, mi_fgsm
from purebench.attacks.views.gradient_modes import bpda, exact, no_gradient
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

GRADIENT_ATTACKS = {
    "pgd-ce": PGD(steps=40),
    "pgd-cw": PGD(steps=40, loss="cw"),
    "apgd-ce": APGD(steps=60),
    "apgd-dlr": APGD(steps=60, loss="dlr"),
    "apgd-cw": APGD(steps=60, loss="cw"),
    "apgd-ce-scaled": APGD(steps=60, loss="ce-scaled"),
    "apgd-t": apgd_t(steps=30, targets=9),
    "apgd-cw-t": apgd_t(steps=30, targets=9, loss="cw"),
    "mi-fgsm": mi_fgsm(steps=40),
    "pgd-cw-t": PGD(steps=40, loss="cw", targets=9),
    "pgd-votes": PGD(steps=40, votes="sign"),
    "md": MD(steps=40),
    "md-pm": MD(steps=40, loss="pm"),
    "md-t": MD(steps=30, targets=9),
}
MINIMUM_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
ATTACKS = GRADIENT_ATTACKS | {"square": Square(queries=30)}
LINF_L2 = ("square", "pgd-ce", "pgd-cw", "pgd-cw-t", "mi-fgsm", "md", "md-pm", "md-t")
SUPPORTED_NORMS = {name: ["linf", "l2"] for name in LINF_L2} | {"pgd-votes": ["linf"]}
RUNS = {"apgd-t": 4, "apgd-cw-t": 4, "pgd-cw-t": 4, "md": 2, "md-pm": 2, "md-t": 8}
"""Gradients per step and image with five classes: one for each target, and two for each target of md; 1 for others."""
FIRST_GRADIENT_AT_IMAGE = ("pgd-ce", "pgd-cw", "pgd-votes", "mi-fgsm")
"""Attacks whose first gradient is taken at the image and that do not query their last point."""
NORMS = ["linf", "l2", "l1"]


def broken(case, attack, view, threat):
    with seeded("oracle", threat.norm):
        found = attack(view, case.x, case.y, threat)
    if threat.norm != "l1":  # in l1 a component may reach the box, since others are equally good
        assert found.min() > 0  # the box does not bind
        assert found.max() < 1
    return case.defense(found).argmax(1) != case.y


@pytest.mark.parametrize("classes", [2, 3, 6, 10])
@pytest.mark.parametrize(("attack", "norm"), [(a, n) for a in GRADIENT_ATTACKS for n in SUPPORTED_NORMS.get(a, NORMS)])
def test_attacks_succeed_5_percent_beyond_the_optimal_distance_and_never_5_percent_before(
    linear, attack, classes, norm
):
    if classes < MINIMUM_CLASSES.get(attack, 2):
        pytest.skip("DLR needs three classes, targeted DLR four")
    case = linear(classes, norm)
    least = case.distance[0].item()
    # in l1 the largest component decides a step, and a loss with a changing runner-up may cycle
    chosen = replace(GRADIENT_ATTACKS[attack], restarts=3 if norm == "l1" else 1)
    for factor in (1.05, 0.95):
        wrong = broken(case, chosen, exact(case.defense), ThreatModel(norm, factor * least))
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


@pytest.mark.parametrize("classes", [2, 5])
def test_square_finds_the_linear_optimum_in_linf_with_enough_queries(linear, classes):
    case = linear(classes, "linf")
    for factor in (1.05, 0.95):
        threat = ThreatModel("linf", factor * case.distance[0].item())
        wrong = broken(case, Square(queries=2000), no_gradient(case.defense), threat)
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


def test_square_finds_the_l2_optimum_if_it_is_one_of_its_patches():
    """The l2 patches cannot form every perturbation; here the optimum is a patch at an unknown position."""
    weight = torch.zeros(5, 5)
    with seeded("patch"):
        weight[1:4, 2:5] = bump(3, weight)
        x = 0.5 + 0.1 * (torch.rand(100, 1, 5, 5) - 0.5)
    slopes = torch.stack([weight.flatten(), -weight.flatten()])
    defense = as_defense(lambda x: (x - 0.5).flatten(1) @ slopes.T)
    scores = (x - 0.5).flatten(1) @ weight.flatten()
    x = x + ((0.2 * scores.sign() - scores)[:, None] * weight.flatten()).view_as(x)  # every image at distance 0.2
    case = SimpleNamespace(defense=defense, x=x, y=defense(x).argmax(1))
    for factor in (1.05, 0.95):
        wrong = broken(case, Square(queries=2000), no_gradient(defense), ThreatModel("l2", factor * 0.2))
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


def test_square_in_l2_succeeds_at_twice_the_optimal_distance_of_a_linear_classifier(linear):
    case = linear(5, "l2")
    for factor in (2, 0.95):
        threat = ThreatModel("l2", factor * case.distance[0].item())
        wrong = broken(case, Square(queries=1500), no_gradient(case.defense), threat)
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    attack=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(NORMS),
    radius=st.floats(1e-3, 2),
    noise=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_results_are_inside_the_threat_model(small, inside, attack, norm, radius, noise, seed):
    assume(norm in SUPPORTED_NORMS.get(attack, NORMS))
    case, threat = small(noise=noise, images=4), ThreatModel(norm, radius)
    short = Square(queries=8) if attack == "square" else replace(ATTACKS[attack], steps=6, restarts=2)
    with seeded("inside", str(seed)):
        inside(short(exact(case.defense, eot=2), case.x, case.y, threat), case.x, threat)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(("attack", "norm"), [(a, n) for a in ATTACKS for n in SUPPORTED_NORMS.get(a, NORMS)])
def test_the_seed_determines_the_result(small, attack, norm, noise):
    case = small(noise=noise)
    if not noise and not getattr(ATTACKS[attack], "random", True):
        pytest.skip("the attack starts at the image, so nothing is random")

    def found(seed):
        with seeded("seed", seed):
            return ATTACKS[attack](exact(case.defense, eot=2), case.x, case.y, ThreatModel(norm, 0.03))

    one = found("one")
    assert torch.equal(one, found("one"))
    assert not torch.equal(one, found("two"))


@pytest.mark.parametrize(("attack", "cure"), [("square", "autoattack:square"), ("pgd-ce", "apgd")])
def test_an_unsupported_norm_is_rejected_with_an_alternative(small, attack, cure):
    case = small()
    with pytest.raises(PurebenchError, match=f"linf or l2, but got l1; use {cure}"):
        ATTACKS[attack](exact(case.defense), case.x, case.y, ThreatModel("l1", 1.0))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_of_a_batch_do_not_influence_each_other(small, norm):
    case, threat, attack = small(), ThreatModel(norm, 0.1), PGD(steps=10, random=False)  # no randomness to share
    together = attack(exact(case.defense), case.x, case.y, threat)
    alone = [attack(exact(case.defense), case.x[i : i + 1], case.y[i : i + 1], threat) for i in range(len(case.x))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
def test_broken_images_leave_the_batch(linear, attack, monkeypatch):
    """At the median distance, about half of the images break early and are not queried again."""
    case = linear(4, "linf", spread=True)
    scale = 2 if attack == "square" else 1  # thirty queries do not find the optimum
    threat = ThreatModel("linf", case.distance.median().item() * scale)
    everything, looks, evaluated, true = [], [], [], Best.see

    def see(best, index, *others, **options):
        evaluated.append(set(index.tolist()))
        return true(best, index, *others, **options)

    monkeypatch.setattr(Best, "see", see)

    def watched(x):
        everything.append(len(x))
        if torch.is_grad_enabled():
            looks.append(len(x))
        return case.defense.classifier(x)

    view = exact(as_defense(watched))
    with seeded("leave"):
        found = ATTACKS[attack](view, case.x, case.y, threat)
    wrong = case.defense(found).argmax(1) != case.y
    assert 0.2 < wrong.float().mean() < 0.95
    steps = 0 if attack == "square" else ATTACKS[attack].steps * RUNS.get(attack, 1)
    assert all(later <= earlier for earlier, later in pairwise(evaluated))  # no image returns to the batch
    assert evaluated[-1] >= set((~wrong).nonzero().squeeze(1).tolist())
    assert max(everything) <= view.batch.size  # runs that share their passes are no more than fit
    assert view.forwards == sum(everything)
    assert view.backwards == sum(looks)
    late = 0.95 if attack == "mi-fgsm" else 0.8  # its steps add up to the radius, so most images break near the end
    assert view.backwards < late * steps * len(case.x) or not steps


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_misclassified_image_costs_one_query_and_is_returned_unchanged(small, attack):
    """One forward pass; two and a backward pass if the first gradient is taken at the image."""
    case = small()
    view = exact(case.defense)
    found = ATTACKS[attack](view, case.x, (case.y + 1) % 5, ThreatModel("linf", 0.1))
    assert torch.equal(found, case.x)
    gradient = attack in FIRST_GRADIENT_AT_IMAGE
    assert (view.forwards, view.backwards) == (len(case.x) * (1 + gradient), len(case.x) * gradient)


def test_restarts_lower_the_accuracy(small, accuracy):
    case, threat = small(images=60), ThreatModel("linf", 0.03)
    left = []
    for restarts in (1, 4):
        with seeded("restarts"):
            found = PGD(steps=2, step=0.3, restarts=restarts)(exact(case.defense), case.x, case.y, threat)
        left.append(accuracy(case.defense, found, case.y))
    assert 0 < left[1] < left[0]


def test_clean_returns_a_copy_of_the_images(small):
    case = small()
    found = Clean()(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.1))
    assert torch.equal(found, case.x)
    assert found is not case.x


@pytest.mark.parametrize("attack", GRADIENT_ATTACKS)
def test_bpda_breaks_a_purifier_with_zero_gradient(small, accuracy, attack):
    from purebench.defenses.transforms.simple import Quantise

    case = small(images=30)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        found = GRADIENT_ATTACKS[attack](bpda(defense), case.x, y, ThreatModel("linf", 0.1))
    assert accuracy(defense, found, y) <= 0.1
