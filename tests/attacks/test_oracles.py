"""Every native attack against theory: linear classifiers, whose least perturbation is known in closed form."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purebench.attacks.apgd import APGD
from purebench.attacks.pgd import PGD, Clean
from purebench.attacks.square import Square, bump
from purebench.attacks.view import bpda, exact, no_gradient
from purebench.defense import Defense, as_defense
from purebench.seeds import seeded
from purebench.threat import ThreatModel

GRADIENT_ATTACKS = {
    "pgd-ce": PGD(steps=40),
    "pgd-cw": PGD(steps=40, loss="cw"),
    "apgd-ce": APGD(steps=60),
    "apgd-dlr": APGD(steps=60, loss="dlr"),
    "apgd-cw": APGD(steps=60, loss="cw"),
}
ATTACKS = GRADIENT_ATTACKS | {"square": Square(queries=30)}
NORMS = ["linf", "l2"]


def broken(case, attack, view, threat):
    with seeded("oracle", threat.norm):
        found = attack(view, case.x, case.y, threat)
    assert found.min() > 0  # the box does not bind
    assert found.max() < 1
    return case.defense(found).argmax(1) != case.y


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 6, 10])
@pytest.mark.parametrize("attack", GRADIENT_ATTACKS)
def test_just_beyond_the_optimal_distance_it_succeeds_and_just_before_never(linear, attack, classes, norm):
    if classes == 2 and "dlr" in attack:
        pytest.skip("DLR needs three classes")
    case = linear(classes, norm)
    least = case.distance[0].item()
    for factor in (1.05, 0.95):
        wrong = broken(case, GRADIENT_ATTACKS[attack], exact(case.defense), ThreatModel(norm, factor * least))
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


@pytest.mark.parametrize("classes", [2, 5])
def test_square_finds_the_linear_optimum_in_linf_with_enough_queries(linear, classes):
    case = linear(classes, "linf")
    for factor in (1.05, 0.95):
        threat = ThreatModel("linf", factor * case.distance[0].item())
        wrong = broken(case, Square(queries=2000), no_gradient(case.defense), threat)
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


def test_square_finds_the_optimum_in_l2_where_one_of_its_patches_is_optimal():
    """In l2 the patches cannot make every perturbation; here the optimal one is a patch, in a place to be found."""
    weight = torch.zeros(5, 5)
    with seeded("patch"):
        weight[1:4, 2:5] = bump(3, weight)
        x = 0.5 + 0.1 * (torch.rand(100, 1, 5, 5) - 0.5)
    slopes = torch.stack([weight.flatten(), -weight.flatten()])
    defense = as_defense(lambda x: (x - 0.5).flatten(1) @ slopes.T)
    scores = (x - 0.5).flatten(1) @ weight.flatten()
    x = x + ((0.2 * scores.sign() - scores)[:, None] * weight.flatten()).view_as(x)  # all at the distance 0.2
    case = SimpleNamespace(defense=defense, x=x, y=defense(x).argmax(1))
    for factor in (1.05, 0.95):
        wrong = broken(case, Square(queries=2000), no_gradient(defense), ThreatModel("l2", factor * 0.2))
        assert wrong.float().mean() >= 0.99 if factor > 1 else not wrong.any()


def test_square_in_l2_comes_within_twice_the_optimum_of_any_linear_classifier(linear):
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
def test_what_comes_back_is_inside_the_threat_model(small, inside, attack, norm, radius, noise, seed):
    case, threat = small(noise=noise, images=4), ThreatModel(norm, radius)
    short = {"square": Square(queries=8), "pgd-ce": PGD(steps=5, restarts=2)}.get(attack, APGD(steps=6, restarts=2))
    with seeded("inside", str(seed)):
        inside(short(exact(case.defense, eot=2), case.x, case.y, threat), case.x, threat)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_seed_decides_the_result_and_another_changes_it(small, attack, norm, noise):
    case = small(noise=noise)

    def found(seed):
        with seeded("seed", seed):
            return ATTACKS[attack](exact(case.defense, eot=2), case.x, case.y, ThreatModel(norm, 0.03))

    one = found("one")
    assert torch.equal(one, found("one"))
    assert not torch.equal(one, found("two"))


@pytest.mark.parametrize("norm", NORMS)
def test_images_of_a_batch_do_not_influence_each_other(small, norm):
    case, threat, attack = small(), ThreatModel(norm, 0.1), PGD(steps=10, random=False)  # no randomness to share
    together = attack(exact(case.defense), case.x, case.y, threat)
    alone = [attack(exact(case.defense), case.x[i : i + 1], case.y[i : i + 1], threat) for i in range(len(case.x))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
def test_broken_images_leave_the_batch(linear, attack):
    """At a radius between the distances, half of the images fall at once and are never asked again."""
    case = linear(4, "linf", spread=True)
    scale = 2 if attack == "square" else 1  # thirty queries do not find the optimum
    threat = ThreatModel("linf", case.distance.median().item() * scale)
    seen = []

    def watched(x):
        seen.append(len(x))
        return case.defense.classifier(x)

    view = exact(as_defense(watched))
    with seeded("leave"):
        found = ATTACKS[attack](view, case.x, case.y, threat)
    wrong = case.defense(found).argmax(1) != case.y
    assert 0.2 < wrong.float().mean() < 0.95
    assert seen == sorted(seen, reverse=True)  # nobody comes back
    assert seen[-1] >= (~wrong).sum()
    assert view.forwards == sum(seen)
    steps = 0 if attack == "square" else ATTACKS[attack].steps
    assert view.backwards == sum(seen[1:-1]) * bool(steps)  # a look at the image first, and one at the last point
    assert view.backwards < 0.8 * steps * len(case.x) or not steps


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_image_that_is_wrong_already_costs_one_forward_and_comes_back_as_it_is(small, attack):
    case = small()
    view = exact(case.defense)
    found = ATTACKS[attack](view, case.x, (case.y + 1) % 5, ThreatModel("linf", 0.1))
    assert torch.equal(found, case.x)
    assert (view.forwards, view.backwards) == (len(case.x), 0)


def test_restarts_go_on_with_the_images_that_hold(small, accuracy):
    case, threat = small(images=60), ThreatModel("linf", 0.03)
    left = []
    for restarts in (1, 4):
        with seeded("restarts"):
            found = PGD(steps=2, step=0.3, restarts=restarts)(exact(case.defense), case.x, case.y, threat)
        left.append(accuracy(case.defense, found, case.y))
    assert 0 < left[1] < left[0]


def test_clean_is_the_image_itself(small):
    case = small()
    found = Clean()(exact(case.defense), case.x, case.y, ThreatModel("linf", 0.1))
    assert torch.equal(found, case.x)
    assert found is not case.x


@pytest.mark.parametrize("attack", GRADIENT_ATTACKS)
def test_bpda_attacks_what_has_no_gradient(small, accuracy, attack):
    from purebench.defenses.transforms import Quantise

    case = small(images=30)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    with seeded("bpda"):
        found = GRADIENT_ATTACKS[attack](bpda(defense), case.x, y, ThreatModel("linf", 0.1))
    assert accuracy(defense, found, y) <= 0.1
