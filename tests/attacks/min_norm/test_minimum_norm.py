"""Tests of the minimum-norm attacks against theory and Foolbox, and on random and unbreakable defenses."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purebench.attacks.min_norm.cw import CW
from purebench.attacks.min_norm.deepfool import DeepFool
from purebench.attacks.min_norm.fmn import FMN
from purebench.attacks.views.gradient_modes import bpda, exact, no_gradient
from purebench.core import registry
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode

ATTACKS = {
    "cw-l2": (CW(searches=6, steps=60), "l2"),
    "deepfool-l2": (DeepFool(), "l2"),
    "deepfool-linf": (DeepFool(), "linf"),
    "fmn-l2": (FMN(steps=60), "l2"),
    "fmn-linf": (FMN(steps=60), "linf"),
    "fmn-l1": (FMN(steps=60), "l1"),
}
SHORT = {
    "cw-l2": (CW(searches=5, steps=24), "l2"),
    "deepfool-l2": (DeepFool(), "l2"),
    "deepfool-linf": (DeepFool(), "linf"),
}
SHORT |= {f"fmn-{norm}": (FMN(steps=30), norm) for norm in ("l2", "linf", "l1")}
each_short_attack = pytest.mark.parametrize(("attack", "norm"), SHORT.values(), ids=SHORT.keys())
each_attack = pytest.mark.parametrize(("attack", "norm"), ATTACKS.values(), ids=ATTACKS.keys())


def run_attack(attack, view, x, y, norm):
    """Return the attack's answer and its distances; the radius of the threat is too small and must not matter."""
    with seeded("minimum norm"):
        answer = attack(view, x, y, ThreatModel(norm, 1e-4))
    assert answer.nearest
    assert answer.images.shape == x.shape
    assert answer.images.min() >= 0
    assert answer.images.max() <= 1
    return answer, NORMS[norm].size(answer.images - x)


@each_attack
@pytest.mark.parametrize("classes", [2, 10])
def test_distance_is_within_5_percent_of_the_optimum_on_a_linear_classifier(linear, attack, norm, classes):
    case = linear(classes, norm, spread=True)
    answer, distance = run_attack(attack, exact(case.defense), case.x, case.y, norm)
    assert answer.claims.all()
    assert (case.defense(answer.images).argmax(1) != case.y).all()
    assert (distance >= 0.9999 * case.distance).all()
    assert (distance <= 1.05 * case.distance).all()


def least_in_the_box(weight, gap, x, norm):
    """Return the least norm of a d with weight·d = gap and x + d in [0,1], for one image x [D].

    The optimal d is a multiple of the steepest direction, clipped to the box; bisection finds the multiple.
    """
    room = torch.where(weight > 0, 1 - x, x)
    if norm == "l1":  # whole pixels, the steepest first
        order = weight.abs().argsort(descending=True)
        gain = (weight.abs() * room)[order].cumsum(0)
        full = int((gain < gap).sum())
        before = gain[full - 1] if full else 0.0
        return room[order[:full]].sum() + (gap - before) / weight.abs()[order[full]]
    shape = weight.abs() if norm == "l2" else torch.ones_like(weight)
    low, high = torch.tensor(0.0), torch.tensor(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        short = (weight.abs() * torch.minimum(middle * shape, room)).sum() < gap
        low, high = (middle, high) if short else (low, middle)
    return torch.minimum(high * shape, room).norm(p=2 if norm == "l2" else torch.inf)


@pytest.mark.parametrize("name", ATTACKS)
def test_distance_is_near_the_optimum_if_most_pixels_are_at_the_bounds_of_the_box(name):
    """Two classes, most pixels at 0 or 1. DeepFool ignores the box, so its distance may be farther from the optimum."""
    attack, norm = ATTACKS[name]
    with seeded("box"):
        weight = torch.randn(64)
        x = (torch.rand(40, 1, 8, 8) * 4 - 1.5).clamp(0, 1)
    share = ((x == 0) | (x == 1)).float().mean()
    assert 0.6 < share < 0.9
    score = (x - 0.5).flatten(1) @ weight
    shift = score.mean()  # no image is far from the boundary
    defense = as_defense(
        lambda images: ((images - 0.5).flatten(1) @ weight - shift)[:, None] * torch.tensor([1.0, -1.0])
    )
    y = defense(x).argmax(1)
    least = torch.stack(
        [
            least_in_the_box(-weight if label == 0 else weight, (value - shift).abs(), image.flatten(), norm)
            for image, label, value in zip(x, y, score, strict=True)
        ]
    )
    answer, distance = run_attack(attack, exact(defense), x, y, norm)
    assert answer.claims.all()
    assert (distance >= 0.999 * least).all()
    allowed = 1.5 if "deepfool" in name else 1.1 if "cw" in name else 1.05
    assert (distance / least).median() <= allowed


@each_short_attack
@pytest.mark.parametrize("eot", [1, 4])
def test_claims_on_a_random_defense_hold_under_verification(small, attack, norm, eot):
    case = small(noise=0.3, images=60)
    view = exact(case.defense, eot=eot)
    answer, _ = run_attack(attack, view, case.x, case.y, norm)
    assert answer.claims.float().mean() >= 0.9
    with seeded("verify"):
        right = torch.stack([case.defense(answer.images).argmax(1) == case.y for _ in range(320)], 1).view(60, 20, 16)
    broken = right.float().mean(2) <= 0.5  # the verification rule on 16 draws, twenty times
    assert broken[answer.claims].float().mean() >= 0.95
    assert torch.equal(answer.images[~answer.claims], case.x[~answer.claims])


def random_logits(x):
    """Two random logits that do not depend on the image, each larger with probability 1/2; the gradient is zero."""
    return torch.stack([torch.randn(len(x)), torch.randn(len(x))], 1) + 0 * x.flatten(1).sum(1, keepdim=True)


@each_short_attack
def test_wrong_answers_by_chance_are_not_claimed(attack, norm):
    """Every query of this defense is wrong with probability 1/2, at every point."""
    x = torch.full((100, 1, 4, 4), 0.4)
    answer, _ = run_attack(
        attack, exact(as_defense(random_logits, random=True)), x, torch.zeros(100, dtype=torch.long), norm
    )
    assert answer.claims.float().mean() <= 0.05


@each_short_attack
@pytest.mark.parametrize("random", [False, True])
def test_an_unbreakable_defense_gives_no_claims_and_the_original_images(attack, norm, random):
    defense = as_defense(lambda x: torch.tensor([1.0, 0.0, 0.5]) + 0 * x.flatten(1).sum(1, keepdim=True), random=random)
    x = torch.rand(5, 1, 4, 4)
    view = exact(defense)
    answer, distance = run_attack(attack, view, x, torch.zeros(5, dtype=torch.long), norm)
    assert not answer.claims.any()
    assert (distance == 0).all()
    assert WarningCode.ZERO_GRADIENT in [warning.code for warning in view.warnings]


@each_short_attack
def test_a_misclassified_image_costs_one_forward_pass_and_is_returned_unchanged(small, attack, norm):
    case = small()
    view = exact(case.defense)
    answer, distance = run_attack(attack, view, case.x, (case.y + 1) % 5, norm)
    assert answer.claims.all()
    assert (distance == 0).all()
    assert (view.forwards, view.backwards) == (len(case.x), 0)


@each_short_attack
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.sampled_from([0.0, 0.2]), classes=st.integers(2, 6), seed=st.integers(0, 99))
def test_results_are_in_the_box_and_misclassified_if_claimed(small, attack, norm, noise, classes, seed):
    case, short = small(classes, noise, images=3, channels=2), type(attack)(steps=6)
    with seeded("box", str(seed)):
        x = (torch.rand(3, 2, 8, 8) * 1.6 - 0.3).clamp(0, 1)
        y = as_defense(case.net)(x).argmax(1)
        answer, distance = run_attack(short, exact(case.defense, eot=2), x, y, norm)
    assert (distance[~answer.claims] == 0).all()
    if not noise:
        assert torch.equal(case.defense(answer.images).argmax(1) != y, answer.claims)


@each_short_attack
def test_the_seed_determines_the_result(small, attack, norm):
    case = small(noise=0.3)

    def found(seed):
        with seeded(seed):
            return attack(exact(case.defense), case.x, case.y, ThreatModel(norm, 0.1)).images

    assert torch.equal(found("one"), found("one"))
    assert not torch.equal(found("one"), found("two"))


@each_short_attack
def test_images_of_a_batch_do_not_influence_each_other(small, attack, norm):
    case = small(images=3)
    together = run_attack(attack, exact(case.defense), case.x, case.y, norm)[1]
    alone = [
        run_attack(attack, exact(case.defense), case.x[i : i + 1], case.y[i : i + 1], norm)[1]
        for i in range(len(case.x))
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=2e-2, atol=1e-5)


@each_short_attack
def test_attacks_break_a_quantised_defense_with_bpda(small, attack, norm):
    from purebench.defenses.transforms.simple import Quantise

    case = small(images=20)
    defense = as_defense(Defense(case.net, Quantise(16)))
    y = defense(case.x).argmax(1)
    answer, _ = run_attack(attack, bpda(defense), case.x, y, norm)
    assert answer.claims.float().mean() >= 0.9
    assert torch.equal(defense(answer.images).argmax(1) != y, answer.claims)


@each_short_attack
def test_a_defense_without_gradient_raises_an_error(small, attack, norm):
    case = small()
    hidden = as_defense(lambda x: case.net(x.detach()))
    with pytest.raises(PurebenchError, match="no gradient"):
        run_attack(attack, no_gradient(hidden), case.x, case.y, norm)


@pytest.fixture(scope="module")
def fashion():
    """The bundled classifier and six test images that it classifies correctly."""
    defense = as_defense(registry.create("classifiers", Spec("fashion-resnet")))
    images = registry.create("datasets", Spec("fashion-mnist"))
    x, y = torch.as_tensor(images.images[:9]).float() / 255, torch.as_tensor(images.labels[:9]).long()
    right = (defense(x).argmax(1) == y).nonzero().squeeze(1)[:6]
    return defense, x[right], y[right]


FOOLBOX_EQUIVALENTS = {
    "cw-l2": ("L2CarliniWagnerAttack", {"binary_search_steps": 5, "steps": 30}, CW(searches=5, steps=30), "l2"),
    "deepfool-l2": ("L2DeepFoolAttack", {"steps": 20}, DeepFool(steps=20), "l2"),
    "deepfool-linf": ("LinfDeepFoolAttack", {"steps": 20}, DeepFool(steps=20), "linf"),
    "fmn-l2": ("L2FMNAttack", {"steps": 20}, FMN(steps=20), "l2"),
    "fmn-linf": ("LInfFMNAttack", {"steps": 20}, FMN(steps=20), "linf"),
    "fmn-l1": ("L1FMNAttack", {"steps": 20}, FMN(steps=20), "l1"),
}


@pytest.mark.parametrize("equivalent", FOOLBOX_EQUIVALENTS)
def test_median_distance_is_at_most_that_of_foolbox_at_equal_steps(fashion, equivalent):
    import foolbox

    defense, x, y = fashion
    name, options, ours, norm = FOOLBOX_EQUIVALENTS[equivalent]
    model = foolbox.PyTorchModel(defense.classifier, bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(y)
    _, theirs, success = getattr(foolbox.attacks, name)(**options)(model, x, criterion, epsilons=None)
    answer, distance = run_attack(ours, exact(defense), x, y, norm)
    assert answer.claims.all()
    assert (defense(answer.images).argmax(1) != y).all()
    reached = torch.where(success, NORMS[norm].size(theirs - x), torch.inf)
    assert distance.median() <= 1.02 * reached.median()
