"""Tests of DiffHammer: its EM steps on paper, toys with known optima, and the gradient that it follows."""

import math

import pytest
import torch

from purebench.attacks.adaptive.diffhammer import DiffHammer, agreed, most_helpful
from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

LINF = ThreatModel("linf", 0.1)


def two_classes(margin):
    """Logits (0, margin): the margin of class 1 over the true class 0."""
    return torch.stack([torch.zeros_like(margin), margin], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_equal_gradients_are_followed_unchanged(norm):
    gradient = torch.randn(6, generator=torch.Generator().manual_seed(0))
    gradients, loss = gradient.expand(2, 5, 6), torch.linspace(-3, 3, 10).view(2, 5)
    for lam in (0.0, 5.0, 1e4):
        followed = agreed(gradients[:, 0], loss, gradients, norm, lam=lam, em_steps=3)
        torch.testing.assert_close(followed, gradients[:, 0])


def test_without_sharpness_the_mean_gradient_is_followed():
    with seeded("mean"):
        gradients, loss = torch.randn(3, 7, 6), torch.randn(3, 7)
    followed = agreed(gradients[:, 2], loss, gradients, "linf", lam=0.0, em_steps=1)
    torch.testing.assert_close(followed, gradients.mean(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_infinite_sharpness_the_mean_of_the_chosen_group_is_followed(norm):
    """Draws 0 to 2 lead one way and draws 3 to 6 the opposite way; the larger group gains most."""
    way = torch.tensor([3.0, -1.0, 2.0, 0.0])
    with seeded("groups"):
        noise = 0.01 * torch.randn(1, 7, 4)
    gradients = torch.cat([way.expand(1, 3, 4), -way.expand(1, 4, 4)], 1) + noise
    loss = torch.full((1, 7), -0.5)
    chosen = most_helpful(loss, gradients, ThreatModel(norm, 1.0))
    assert 3 <= int(chosen) < 7
    followed = agreed(gradients[:, int(chosen)], loss, gradients, norm, lam=1e4, em_steps=1)
    torch.testing.assert_close(followed, gradients[:, 3:].mean(1))
    loss[:, :3] = 9.0  # draws that are almost wrong count more
    assert int(most_helpful(loss, gradients, ThreatModel(norm, 1.0))) < 7
    first = agreed(gradients[:, 0], torch.full((1, 7), -0.5), gradients, norm, lam=1e4, em_steps=1)
    torch.testing.assert_close(first, gradients[:, :3].mean(1))


def test_scores_and_weights_are_those_of_the_formulas():
    """Written out draw by draw in float64."""
    with seeded("formulas"):
        gradients, loss = torch.randn(1, 4, 5).double(), torch.randn(1, 4).double()
    (g,), (values,) = gradients.tolist(), loss.tolist()

    def inner(one, other):
        return sum(a * b for a, b in zip(one, other, strict=True))

    def sign(one):
        return [math.copysign(1, value) for value in one]

    def elu(value):
        return value if value > 0 else math.expm1(value)

    scores = [sum(elu(values[j] + 0.1 * inner(sign(g[i]), g[j])) for j in range(4)) for i in range(4)]
    best = scores.index(max(scores))
    assert int(most_helpful(loss, gradients, LINF)) == best
    followed = g[best]
    for em_steps in (1, 2, 3):
        weights = [1 / (1 + math.exp(-5 * (values[j] + inner(sign(followed), g[j])))) for j in range(4)]
        followed = [inner(weights, column) / sum(weights) for column in zip(*g, strict=True)]
        found = agreed(gradients[:, best], loss, gradients, "linf", lam=5.0, em_steps=em_steps)
        assert found[0].tolist() == pytest.approx(followed)


def test_weights_far_below_zero_do_not_underflow():
    gradients = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    followed = agreed(gradients[:, 0], torch.tensor([[-500.0, -501.0]]), gradients, "linf", lam=5.0, em_steps=1)
    torch.testing.assert_close(followed, gradients[:, 0], atol=1e-4, rtol=0)  # the second weighs exp(-10) times as much


@pytest.mark.parametrize("graft", [True, False])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_gaussian_purifier_the_worst_point_is_found(norm, graft, accuracy):
    """P(x) = a·x + b·ξ with two linear classes: the worst point and its accuracy have closed forms."""
    a, b, count = 0.8, 0.1, 100
    with seeded("linear-gaussian"):
        v = torch.randn(16)
    centre = torch.full((1, 1, 4, 4), 0.5)
    purifier = Function(lambda x: centre + a * (x - centre) + b * torch.randn_like(x), random=True)
    defense = as_defense(Defense(lambda p: two_classes(-0.5 - 2 * (p - centre).flatten(1) @ v), purifier))
    x, y = centre.expand(count, -1, -1, -1), torch.zeros(count, dtype=torch.long)
    size = {"linf": v.abs().sum(), "l2": v.norm()}[norm].item()
    # the radius at which the mean margin is half a standard deviation of the noise below zero
    radius = (0.25 + 0.5 * b * v.norm().item()) / (a * size)
    threat = ThreatModel(norm, radius)
    worst = x - radius * (v.sign() if norm == "linf" else v / v.norm()).view(1, 1, 4, 4)
    q = 0.5 * (1 + math.erf(-0.5 / 2**0.5))
    attack = DiffHammer(losses=["cw", "ce"], steps=20, graft=graft, restarts=2)
    with seeded("worst"):
        found = attack(exact(defense), x, y, threat)
    if norm == "linf":
        torch.testing.assert_close(found, worst, atol=1e-5, rtol=0)
    mean, deviation = -0.5 - 2 * a * (found - centre).flatten(1) @ v, 2 * b * v.norm()
    assert torch.special.ndtr(-mean / deviation).mean().item() == pytest.approx(q, abs=0.005)
    with seeded("judge"):
        assert accuracy(defense, found, y, 80) == pytest.approx(q, abs=0.02)  # four standard errors of 0.005


K, FAR = 30.0, 10.0
"""Slope of the margin of the conflict toys, and the distance of the two places to which T2b moves an image."""


def sign_of_each(x):
    return 2.0 * torch.randint(2, (len(x), 1, 1, 1)) - 1


def jacobian_conflict():
    """T2a: a draw is s·u and the margin K·p - 1, with u = x - 0.5: the gradients at the purified images agree."""
    purifier = Function(lambda x: 0.5 + sign_of_each(x) * (x - 0.5), random=True)
    return as_defense(Defense(lambda p: two_classes(K * (p.flatten() - 0.5) - 1), purifier))


def cotangent_conflict():
    """T2b: a draw is u + s·FAR, and the margin K·s·u - 1: the gradients at the purified images are opposite."""

    def margin(p):
        p = p.flatten() - 0.5
        return K * p.sign() * (p - p.sign() * FAR) - 1

    purifier = Function(lambda x: x + FAR * sign_of_each(x), random=True)
    return as_defense(Defense(lambda p: two_classes(margin(p)), purifier))


def mean_right(points):
    """The mean probability of a right answer: one half where |u| > 1/K, else 1."""
    return torch.where((points.flatten() - 0.5).abs() > 1 / K, 0.5, 1.0).mean().item()


def signed_steps(gradient_at, count):
    """Take 50 steps of a quarter of the radius along DiffHammer's mean of the gradients; return the last points."""
    point, x, mixed = torch.full((count, 1, 1, 1), 0.5), torch.full((count, 1, 1, 1), 0.5), 0.0
    for k in range(50):
        new = (k + 1) ** -0.5
        mixed = new * gradient_at(point) + (1 - new) * mixed
        point = LINF.project(point + LINF.radius / 4 * mixed.sign(), x)
    return point


@pytest.mark.parametrize(
    ("toy", "kind", "expected"),
    [
        (jacobian_conflict, "eot", 0.586),
        (jacobian_conflict, "graft", 0.578),
        (jacobian_conflict, "full", 0.5),
        (cotangent_conflict, "eot", 0.598),
        (cotangent_conflict, "graft", 0.5),
        (cotangent_conflict, "full", 0.5),
    ],
)
def test_selection_solves_a_conflict_that_it_sees(toy, kind, expected):
    """The simulated values of 400 runs, here of 200: grafting is no better than EOT where only the Jacobian differs.

    A run ends at 0.5 or at 1, so the standard error of a mean near 0.58 is 0.5·sqrt(0.16·0.84/200) = 0.013, and that of
    the expected value is 0.009.
    """
    count, view = 200, exact(toy(), eot=10)
    y, attack = torch.zeros(count, dtype=torch.long), DiffHammer(losses=["cw"], graft=kind == "graft")

    def gradient_at(point):
        if kind == "eot":
            return view.look(point, y, losses.margin).gradient
        return attack.look(view, point, y, LINF, losses.margin)[0].gradient

    with seeded("conflict", toy.__name__, kind):
        end = mean_right(signed_steps(gradient_at, count))
    assert end == pytest.approx(expected, abs=0 if expected == 0.5 else 3.5 * (0.013**2 + 0.009**2) ** 0.5)


@pytest.mark.parametrize(("toy", "graft"), [(cotangent_conflict, True), (jacobian_conflict, False)])
def test_the_attack_reaches_the_optimum_of_a_conflict(toy, graft):
    x, view = torch.full((50, 1, 1, 1), 0.5), exact(toy())
    with seeded("optimum"):
        found = DiffHammer(losses=["cw"], graft=graft, restarts=1, steps=20)(view, x, torch.zeros(50).long(), LINF)
    assert mean_right(found) == 0.5


@pytest.mark.parametrize(
    "text", ["gaussian-noise", "diffpure(steps=2)", "mlvgm-hvae", "vote(defense=mlvgm-hvae, draws=2)"]
)
def test_grafting_the_gradient_of_a_draw_gives_its_exact_gradient(text):
    """With one draw, the followed gradient is that of the draw; other purifiers are in views/test_draws.py."""
    classifier = create("classifiers", Spec("fashion-resnet"))
    view = exact(as_defense(create("defenses", Spec.parse(text), classifier=classifier), classifier))
    with seeded("graft"):
        x = torch.rand(3, 1, 32, 32)
    y, attack = torch.tensor([0, 1, 2]), DiffHammer(draws=1)
    with seeded("one"):
        grafted = attack.look(view, x, y, LINF, losses.cross_entropy)[0].gradient
    with seeded("one"):
        gradient = view.look(x, y, losses.cross_entropy).gradient
    assert (grafted - gradient).abs().max() <= 1e-5 * gradient.abs().max()


@pytest.mark.parametrize(("graft", "forwards", "backwards"), [(True, 4 * 11, 4), (False, 4 * 20, 4 * 10)])
def test_a_step_costs_one_forward_per_draw_and_one_pull_back(small, graft, forwards, backwards):
    """And 10 draws at the clean image, and 2 times 8 fresh ones at the end of the run."""
    case = small(images=6)
    view = exact(as_defense(Defense(case.net, Function(lambda x: x + 0.01 * torch.randn_like(x), random=True))))
    with seeded("cost"):
        DiffHammer(steps=4, restarts=1, graft=graft)(view, case.x, case.y, ThreatModel("linf", 1e-6))
    assert (view.forwards, view.backwards) == (6 * (10 + forwards + 16), 6 * backwards)


def test_images_that_are_always_wrong_leave(small):
    case = small(images=6)
    view = exact(as_defense(Defense(case.net, Function(lambda x: x + 1e-4 * torch.randn_like(x), random=True))))
    with seeded("leave"):
        DiffHammer(steps=50)(view, case.x, (case.y + 1) % 5, ThreatModel("linf", 1e-6))
    assert view.backwards <= 6 * 4  # wrong on 32 draws in a row and on 32 fresh ones


@pytest.mark.parametrize("make", [exact, bpda])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_results_are_inside_the_threat_model_and_repeatable(small, inside, make, norm):
    case, threat = small(images=4), ThreatModel(norm, 0.1)
    defense = as_defense(Defense(case.net, Function(lambda x: x + 0.3 * torch.randn_like(x), random=True)))
    found = []
    for seed in ("one", "one", "two"):
        with seeded(seed):
            found.append(DiffHammer(steps=5, draws=3)(make(defense), case.x, case.y, threat))
    inside(found[0], case.x, threat)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_it_is_about_as_strong_as_apgd_at_equal_draws(small, accuracy):
    from purebench.attacks.gradient.apgd import APGD

    case, threat = small(images=60, noise=0.3), ThreatModel("linf", 0.05)
    left = []
    for attack in (APGD(steps=20), DiffHammer(steps=20, draws=10, restarts=1)):
        with seeded("strength"):
            found = attack(exact(case.defense, eot=10), case.x, case.y, threat)
            left.append(accuracy(case.defense, found, case.y, 40))
    assert left[1] <= left[0] + 0.03
    assert left[1] < accuracy(case.defense, case.x, case.y, 40) - 0.1


def test_what_it_does_not_apply_to_is_refused(small):
    case, threat = small(images=2), ThreatModel("linf", 0.1)
    with pytest.raises(Inapplicable, match="for random defenses"):
        DiffHammer()(exact(case.defense), case.x, case.y, threat)
    random = small(images=2, noise=0.1).defense
    with pytest.raises(PurebenchError, match="linf or l2, but got l1; use apgd"):
        DiffHammer()(exact(random), case.x, case.y, ThreatModel("l1", 1.0))
    binary = exact(small(classes=2, images=2, noise=0.1).defense)
    with pytest.raises(Inapplicable, match="at least 3 classes"):
        DiffHammer()(binary, case.x, torch.tensor([0, 1]), threat)
    assert binary.backwards == 0
    for given, message in (
        ({"losses": ["hinge"]}, "'hinge' is unknown"),
        ({"losses": "cw"}, r"expected a list such as \[cw, ce\], but got 'cw'"),
        ({"losses": []}, "expected a list"),
        ({"draws": 0}, "draws: expected a whole number of at least 1"),
        ({"lam": -1.0}, "lam: expected a number in"),
    ):
        with pytest.raises(PurebenchError, match=message):
            DiffHammer(**given)


def test_it_is_created_by_name():
    made = create("attacks", Spec.parse("diffhammer(steps=10, losses=[cw, ce], em_steps=5, graft=false, decay=0.5)"))
    assert made == DiffHammer(steps=10, losses=["cw", "ce"], em_steps=5, graft=False)


def test_runs_of_different_losses_are_compared_by_the_margin(small):
    """Through another model the larger value decides, and a cross-entropy is above 0 where every margin is below."""
    case = small(images=24, noise=0.1)
    view = exact(case.defense, eot=4)
    view.decides = False
    margins = []
    for names in (["cw"], ["cw", "ce", "ce"]):
        with seeded("runs"):
            attack = DiffHammer(steps=6, draws=4, losses=names, restarts=len(names))
            points = attack.run(view, case.x, case.y, ThreatModel("linf", 0.02))
        with seeded("score"):
            scores = view.scores(points, 200)
        margins.append(losses.margin(scores.flatten(0, 1), case.y.repeat_interleave(200)).view(-1, 200).mean(1))
    assert float((margins[1] - margins[0]).mean()) > -0.02
