"""Tests of the deviated-reconstruction loss of DiffAttack against its formula on linear chains."""

import math

import pytest
import torch
from linear_chain import LEVELS, SIZE, Inverting, LinearChain, TwoClasses, linear_defense, matrices, points
from torch import nn

from purebench.attacks.adaptive.deviated import POWERS, Deviated, DeviatedView, deviating
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.views.gradient_modes import blind, bpda, exact
from purebench.attacks.views.intermediate import intermediate
from purebench.attacks.views.surrogate import surrogate
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.sde import DiffPureSDE

THREAT = ThreatModel("linf", 0.1)


def look(view, x, words="deviated", **settings):
    """The look of a view with the deviation, at labels 0 and with the margin."""
    with deviating(view, **settings) as made, seeded(words):
        return made.look(x, torch.zeros(len(x), dtype=torch.long), losses.margin)


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("weight", POWERS)
@pytest.mark.parametrize("reference", ["through", "fixed"])
def test_value_and_gradient_are_those_of_the_formula(reference, weight, checkpointed):
    """d/dx of mean_t w_t |x_t - ref_t|²/d is mean_t 2 w_t/d (J_t - K_t)ᵀ(x_t - ref_t), K_t = 2 sqrt(level_t) or 0."""
    defense, x = linear_defense(checkpointed=checkpointed), points()
    plain, found = (
        look(exact(defense), x, deviation=0.0),
        look(exact(defense), x, deviation=3.0, reference=reference, weight=weight),
    )
    with seeded("deviated"):
        states = defense.purifier.trace(x)
    value, gradient = torch.zeros(len(x), dtype=x.dtype), torch.zeros(len(x), SIZE, dtype=x.dtype)
    for state, level, jacobian in zip(states, LEVELS[1:], defense.purifier.jacobians(), strict=True):
        factor = {"alpha": math.sqrt(level), "alpha-bar": level, "equal": 1.0}[weight] / len(states)
        difference = (state.state - state.reference).flatten(1)
        value += factor * difference.square().mean(1)
        straight = 2 * math.sqrt(level) * torch.eye(SIZE, dtype=x.dtype) if reference == "through" else 0
        gradient += factor * 2 / SIZE * difference @ (jacobian - straight)
    torch.testing.assert_close(found.loss - plain.loss, 3 * value)
    torch.testing.assert_close((found.gradient - plain.gradient).flatten(1), 3 * gradient)
    assert value.min() > 1e-3


def test_an_identity_purifier_has_no_deviation():
    """Each step removes exactly the noise that the forward process added."""
    defense = as_defense(Inverting(matrices("unused")), TwoClasses())
    x = points()
    plain, found = (look(exact(defense), x, deviation=deviation) for deviation in (0.0, 1e3))
    torch.testing.assert_close(found.loss, plain.loss)
    torch.testing.assert_close(found.gradient, plain.gradient)
    torch.testing.assert_close(defense.purifier(x), x)


class Denoiser(nn.Module):
    """A small noise predictor that depends on neighbouring pixels and on the timestep."""

    def __init__(self):
        super().__init__()
        with seeded("denoiser"):
            self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(x) + (t.to(x.dtype) / 500).view(-1, 1, 1, 1)))


MAKE = {
    "ddpm": lambda: DiffPure(Denoiser(), t=60, steps=3),
    "ddim": lambda: DiffPure(Denoiser(), t=60, steps=3, sampler="ddim"),
    "gdmp": lambda: GDMP(Denoiser(), t=60, steps=2, rounds=2),
    "gradual": lambda: GradualNoise(Denoiser(), schedule=(20, 60), steps=2),
    "sde": lambda: DiffPureSDE(Denoiser(), t=0.1, steps=3),
}


@pytest.mark.parametrize("options", [{}, {"levels": 2, "reference": "fixed", "weight": "equal"}])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_without_deviation_it_is_apgd_bit_for_bit(make, options, small):
    case, found, views = small(images=4), [], []
    defense = as_defense(Defense(case.net, make()))
    settings = {"steps": 3, "loss": "cw", "restarts": 2}
    for attack in (APGD(**settings), Deviated(**settings, deviation=0.0, **options)):
        views.append(exact(defense, eot=2))
        with seeded("plain"):
            found.append((attack(views[-1], case.x, case.y, THREAT), torch.rand(3)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    for name in ("forwards", "backwards", "looked", "notes", "warnings"):
        assert getattr(views[0], name) == getattr(views[1], name)
    assert views[1].backwards > 0
    with seeded("plain"):
        driven = Deviated(**settings, deviation=100.0)(exact(defense, eot=2), case.x, case.y, THREAT)
    assert not torch.equal(driven, found[0][0])


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_the_gradient_of_diffusion_purifiers_matches_central_differences(make, small):
    case = small(images=3)
    defense, x = as_defense(Defense(case.net, make())).double(), 0.2 + 0.6 * case.x.double()
    found = look(exact(defense), x, deviation=5.0)
    direction = found.gradient / found.gradient.norm()
    rise = [look(exact(defense), x + step * direction, deviation=5.0).loss.sum() for step in (1e-5, -1e-5)]
    assert float((rise[0] - rise[1]) / 2e-5) == pytest.approx(float(found.gradient.norm()), rel=1e-6)


def test_drawn_levels_are_a_random_subset_of_the_states():
    """The mean over one drawn level takes the value of each level about equally often."""
    defense, x = linear_defense(), points(1)
    view = DeviatedView(defense, defense.purify, True, True, levels=1, weight="equal")
    states, seen = defense.purifier.trace(x), []
    with seeded("levels"):
        seen = [view._chosen(states) for _ in range(300)]
    assert all(len(chosen) == 1 for chosen in seen)
    counts = [sum(chosen[0] is state for chosen in seen) for state in states]
    assert min(counts) > 60
    view.levels = 2
    assert len({id(one) for one in view._chosen(states)}) == 2
    view.levels = 99
    assert view._chosen(states) is states


def test_without_a_loss_of_the_classifier_the_states_are_driven_off_along_the_amplified_pixel():
    """The state is (3 u_1, 0.1 u_2, …), u = 2x - 1: moving pixel 1 away from mid grey raises |state - u|² most."""
    chain = LinearChain([torch.diag(torch.tensor([3.0, *[0.9] * (SIZE - 1)]))], (0.99, 1.0))
    defense, x = as_defense(Defense(Constant(), chain)), points().float()
    x.flatten(1)[:, 0] = 0.6
    with seeded("drive"):
        found = Deviated(steps=20, weight="equal")(exact(defense, eot=8), x, torch.zeros(5).long(), THREAT)
    torch.testing.assert_close(found.flatten(1)[:, 0], torch.full((5,), 0.7))


class Constant(nn.Module):
    def forward(self, x):
        return torch.tensor([1.0, 0.0]) + 0 * x.flatten(1)[:, :2]


def test_it_attacks_the_states_of_a_surrogate():
    defense, x = linear_defense(), points()
    view = surrogate(defense)
    found, plain = look(view, x, deviation=3.0), look(surrogate(defense), x, deviation=0.0)
    with seeded("deviated"):
        (state,) = defense.purifier.shorter.trace(x)
    expected = 3 * (state.state - state.reference).square().flatten(1).mean(1)
    torch.testing.assert_close(found.loss - plain.loss, expected)
    assert view.forwards == view.backwards == len(x)  # its counters are passed on


def test_inapplicable_defenses_and_views(small):
    case, attack = small(), Deviated(steps=2)
    own = as_defense(Defense(case.net, Function(torch.clone, random=False)))
    langevin = as_defense(
        create("defenses", Spec("ebm-langevin", {"steps": 2})), create("classifiers", Spec("fashion-resnet"))
    )
    for view, x, words in (
        (exact(case.defense), case.x, "has no purifier"),
        (exact(own), case.x, "no intermediate states"),
        (exact(langevin), torch.rand(12, 1, 32, 32), "no reference"),
    ):
        with pytest.raises(Inapplicable, match=words):
            attack(view, x, case.y, THREAT)
    linear = linear_defense()
    x, y = points(), torch.zeros(5, dtype=torch.long)
    for make in (bpda, blind, intermediate):
        with pytest.raises(PurebenchError, match="use exact"):
            attack(make(linear), x, y, THREAT)
    with pytest.raises(PurebenchError, match="reference: 'both' is unknown"):
        Deviated(reference="both")


def behind(change):
    """A linear chain whose classifier first changes its input."""
    defense = linear_defense()
    inner = defense.classifier
    return as_defense(Defense(lambda images: inner(change(images)), defense.purifier))


def test_a_classifier_without_a_gradient_is_refused_although_the_deviation_has_one():
    with pytest.raises(PurebenchError, match="none arrives through this view"):
        Deviated(steps=2)(exact(behind(torch.detach)), points().float(), torch.zeros(5, dtype=torch.long), THREAT)


def test_a_zero_gradient_of_the_classifier_is_reported_although_the_deviation_has_one():
    view, x = exact(behind(lambda images: images.detach().round() + 0 * images)), points()
    with seeded("classes"):
        classes = view.scores(x)[:, 0].argmax(1)
    with deviating(view, deviation=1.0) as made, seeded("classes"):
        made.look(x, classes, losses.margin)
    (warning,) = view.warnings
    assert warning.code is WarningCode.ZERO_GRADIENT
    assert warning.of == len(x)
