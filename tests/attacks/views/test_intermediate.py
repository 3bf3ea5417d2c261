"""Tests of the view that adds the classifier's gradients at the intermediate states of a purification."""

import pytest
import torch
from linear_chain import LEVELS, linear_defense, points
from torch import nn

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.views.gradient_modes import blind, bpda, exact
from purebench.attacks.views.intermediate import intermediate
from purebench.attacks.views.surrogate import noised, surrogate
from purebench.core import registry
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import Inapplicable
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP

MARGIN = losses.margin
ONLY_THE_LAST = 1e6
"""A power by which every weight but that of the last state is zero."""


def gradient(view, x, y, words="intermediate", loss=MARGIN):
    with seeded(words):
        return view.look(x, y, loss)


def classes(x):
    return torch.zeros(len(x), dtype=torch.long)


def test_the_gradient_of_a_linear_chain_is_the_weighted_sum_of_its_jacobians():
    defense, x = linear_defense(), points()
    look = gradient(intermediate(defense, a=0.7), x, classes(x))
    steps = len(LEVELS) - 1
    weights = [(steps - number) ** -0.7 for number in range(steps)]
    slope = defense.classifier.weight  # the margin is 2 w·image, and the image half of a state
    expected = sum(w * jacobian.T @ slope for w, jacobian in zip(weights, defense.purifier.jacobians(), strict=True))
    expected = expected / sum(weights)
    torch.testing.assert_close(look.gradient.flatten(1), expected.expand(len(x), -1))


@pytest.mark.parametrize("checkpointed", [True, False])
def test_the_gradient_matches_central_differences_of_the_loss(checkpointed):
    """With a classifier and a loss that are not linear, in float64 under the same noise."""
    defense, x = linear_defense(checkpointed=checkpointed), points(2)
    view = intermediate(defense, a=0.5, b=0.5)
    look = gradient(view, x, classes(x), loss=losses.cross_entropy)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    step = 1e-6 * direction
    rise = [gradient(view, x + s, classes(x), loss=losses.cross_entropy).loss for s in (step, -step)]
    slope = (look.gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close((rise[0] - rise[1]) / 2e-6, slope, rtol=1e-6, atol=1e-9)


def test_with_all_weight_on_the_last_state_it_is_the_exact_view(small):
    net = small().net
    network = create("defenses", Spec("diffpure")).network
    defense = as_defense(
        Defense(nn.Sequential(nn.AvgPool2d(4), net), GDMP(network, t=60, steps=2, rounds=2)).requires_grad_(False)
    )
    x, y = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2])
    looks = [
        gradient(view, x, y)
        for view in (exact(defense, eot=2), intermediate(defense, eot=2, a=ONLY_THE_LAST, b=ONLY_THE_LAST))
    ]
    torch.testing.assert_close(looks[0].gradient, looks[1].gradient, rtol=1e-4, atol=1e-8)
    assert torch.equal(looks[0].logits, looks[1].logits)
    assert torch.equal(looks[0].loss, looks[1].loss)
    equal = gradient(intermediate(defense, eot=2), x, y)
    assert torch.equal(equal.logits, looks[0].logits)  # the logits are those of the purified image in any case
    assert not torch.allclose(equal.gradient, looks[0].gradient, rtol=1e-2)


def test_the_weights_of_steps_and_rounds_are_those_of_the_formula():
    """With a constant loss of 1 at one state, and 0 elsewhere, the value is the weight of this state."""
    defense = as_defense(Defense(nn.Flatten(), GDMP(Still(), t=60, steps=3, rounds=2)))
    view, x = intermediate(defense, a=0.5, b=2.0), torch.full((1, 1, 8, 8), 0.5)
    found = []
    for chosen in range(6):
        calls = []

        def one(logits, labels, calls=calls, chosen=chosen):
            calls.append(1)
            return 0 * logits.sum(1) + float(len(calls) - 1 == chosen)

        found.append(gradient(view, x, torch.tensor([0]), loss=one).loss)
    expected = [(step + 1) ** -0.5 * (turn + 1) ** -2.0 for turn in range(2) for step in range(3)]
    torch.testing.assert_close(torch.cat(found), torch.tensor(expected) / sum(expected))


class Still(nn.Module):
    """A denoiser that predicts no noise."""

    def forward(self, x, t):
        return 0 * x


def test_without_noise_and_denoising_all_views_agree_up_to_scale(small):
    case = small()
    purifier = DiffPure(Still(), t=3, steps=3, levels=1 - 1e-7 * torch.arange(1.0, 4.0))
    defense = as_defense(Defense(case.net, purifier))
    x = 0.1 + 0.8 * case.x
    plain = gradient(blind(defense), x, case.y).gradient.flatten(1)
    for make in (exact, bpda, noised, surrogate, intermediate):
        found = gradient(make(defense), x, case.y).gradient.flatten(1)
        assert nn.functional.cosine_similarity(found, plain).min() > 0.999, make


def test_it_decides_and_counts_as_the_exact_view():
    defense, x = linear_defense(), points()
    view = intermediate(defense, eot=3)
    gradient(view, x, classes(x))
    assert view.decides
    assert view.random
    assert (view.forwards, view.backwards) == (3 * len(x), 3 * len(x))


def test_bf16_is_used_in_its_passes(small):
    network = create("defenses", Spec("diffpure")).network
    defense = as_defense(Defense(create("classifiers", Spec("fashion-resnet")), DiffPure(network, t=60, steps=2)))
    x, y = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2])
    exactly, coarsely, plain = intermediate(defense), intermediate(defense), exact(defense)
    coarsely.precision = plain.precision = "bf16"
    looks = [gradient(view, x, y) for view in (exactly, coarsely, plain)]
    assert torch.equal(looks[1].logits, looks[2].logits)
    assert looks[1].logits.dtype == looks[1].gradient.dtype == torch.float32
    assert not torch.equal(looks[0].logits, looks[1].logits)


def by_the_formula(defense, x, y, words, a, b):
    """G <- G + w * the gradient of loss(f((x_t + 1) / 2)) by x_t, then one step back, from the last state to the first.

    Only the purified image is clamped. Each step of the purification is differentiated on its own.
    """
    with seeded(words):
        plan = defense.purifier.plan(x)
    states, channels = [plan.start], x.shape[1]
    for step in plan.steps:
        states.append(step(states[-1]))
    sizes = [0.0 if one is None else (one.step + 1) ** -a * (one.round + 1) ** -b for one in plan.marks]
    total, outside = torch.zeros_like(plan.start), []
    for place in reversed(range(len(plan.steps))):
        leaf = states[place + 1].detach().requires_grad_()
        image = (leaf[:, :channels] + 1) / 2
        outside.append(((image < 0) | (image > 1)).float().mean())
        if place == len(plan.steps) - 1:
            image = image.clamp(0, 1)
        value = MARGIN(defense.classifier(image), y).sum()
        total = total + sizes[place] / sum(sizes) * torch.autograd.grad(value, leaf)[0]
        leaf = states[place].detach().requires_grad_()
        (total,) = torch.autograd.grad(plan.steps[place](leaf), leaf, total)
    with seeded(words), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (total,) = torch.autograd.grad(defense.purifier.plan(leaf).start, leaf, total)
    return total, torch.stack(outside).mean()


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda network, **more: DiffPure(network, t=150, steps=4, **more),
        lambda network, **more: GDMP(network, t=100, steps=2, rounds=2, **more),
    ],
    ids=["diffpure", "gdmp"],
)
def test_noisy_states_of_images_on_black_are_not_clamped(make, checkpointed, small):
    """Many values of noisy states are below 0: a clamp would leave them without a gradient."""
    network = create("defenses", Spec("diffpure")).network
    classifier = nn.Sequential(nn.AvgPool2d(4), small().net).requires_grad_(False)
    defense = as_defense(Defense(classifier, make(network, checkpointed=checkpointed)))
    x, y = torch.zeros(3, 1, 32, 32), torch.tensor([0, 1, 2])
    x[:, :, 8:24, 8:24] = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    found = gradient(intermediate(defense, a=0.5, b=0.5), x, y, "black").gradient
    expected, outside = by_the_formula(defense, x, y, "black", 0.5, 0.5)
    assert outside > 0.15
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        *(("diffpure(steps=3)", True), ("diffpure-sde(steps=2)", True), ("gdmp(steps=2)", True)),
        *(("ebm-langevin(steps=4)", False), ("likelihood-maximisation(steps=2)", False)),
    ],
)
def test_the_purified_image_alone_is_clamped(text, signed):
    states = create("defenses", Spec.parse(text)).eval().trace(torch.zeros(1, 1, 32, 32))
    raw = [(state.state + 1) / 2 if signed else state.state for state in states]
    assert all(torch.equal(state.image, expected) for state, expected in zip(states[:-1], raw[:-1], strict=True))
    assert torch.equal(states[-1].image, raw[-1].clamp(0, 1))


class Deep(nn.Module):
    """A classifier of many layers, each of which keeps its features for the backward pass."""

    def __init__(self, depth):
        super().__init__()
        self.depth = depth

    def forward(self, x):
        for _ in range(self.depth):
            x = torch.tanh(x)
        return x.flatten(1)[:, :3]


def test_the_classifier_keeps_nothing_for_the_backward_pass_of_earlier_states():
    def nodes(depth):
        view = intermediate(as_defense(Defense(Deep(depth), DiffPure(Still(), t=60, steps=6))))
        values, _ = view.evaluate(torch.full((2, 1, 8, 8), 0.5, requires_grad=True), torch.tensor([0, 1]), MARGIN)
        return reachable(values)

    assert nodes(20) == nodes(2)


def reachable(values):
    """The number of nodes of the graph behind some values; each may keep tensors."""
    seen, left = set(), [values.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [inner for inner, _ in node.next_functions]
    return len(seen)


def test_purifiers_without_states_are_inapplicable(small):
    case = small()
    defense = as_defense(Defense(case.net, Function(torch.clone, random=False)))
    with pytest.raises(Inapplicable, match="no intermediate states"):
        APGD(steps=2)(intermediate(defense), case.x, case.y, ThreatModel("linf", 0.1))
    with pytest.raises(Inapplicable, match="has no purifier"):
        intermediate(case.defense)
    with pytest.raises(Inapplicable, match="no gradient comes through"):
        intermediate(Defense(case.net, Function(torch.clone, random=False, differentiable=False)))


@pytest.mark.parametrize(
    "attack", ["off-manifold(steps=2)", "diffhammer(steps=2, losses=[cw])", "known-randomness(steps=2)"]
)
def test_attacks_that_do_not_use_its_loss_are_inapplicable(attack):
    x = points().float()
    with pytest.raises(Inapplicable, match=r"th(e|is) view changes"):
        registry.create("attacks", Spec.parse(attack))(
            intermediate(linear_defense()), x, torch.zeros(5, dtype=torch.long), ThreatModel("linf", 0.1)
        )


def test_libraries_cannot_use_it():
    with pytest.raises(Inapplicable, match="changes the loss of gradients"):
        intermediate(linear_defense()).as_module()
