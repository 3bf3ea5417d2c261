"""Tests of the intermediate states of purifiers, of their shorter versions, and of their noise without denoising."""

from __future__ import annotations

import math

import pytest
import torch
from linear_chain import LEVELS, SHAPE, linear_defense, points
from smooth_network import Smooth, answer
from test_purifiers import EACH, MAKE
from torch import nn

from purebench.core.defense import Function
from purebench.core.defense.trace import from_signed
from purebench.core.errors import Inapplicable
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.composition.smoothing import OneStep
from purebench.defenses.composition.voting import Votes
from purebench.defenses.diffusion.chain import run, run_through, seeded_noise
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood import LikelihoodMaximisation
from purebench.defenses.diffusion.sampling import ladder, noise_levels
from purebench.defenses.diffusion.sde import DiffPureSDE
from purebench.defenses.ebm.langevin import EBMLangevin

BUNDLED = (
    *("diffpure(steps=3)", "diffpure(steps=3, sampler=ddim)", "gdmp(steps=2)", "gradual-noise(schedule=[20, 60])"),
    *("gradual-noise(schedule=[20, 60], steps=[1, 3])", "diffpure-sde(steps=3)", "likelihood-maximisation(steps=2)"),
    *("ebm-langevin(steps=4)", "ebm-langevin(steps=4, temperature=0.0)"),
)


class Quadratic(nn.Module):
    def forward(self, x):
        return 0.5 * (x - 0.5).square().sum((1, 2, 3))


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("text", BUNDLED)
def test_the_last_state_is_the_result_of_forward_bit_for_bit(text, checkpointed):
    spec = Spec.parse(text)
    purifier = create("defenses", Spec(spec.name, {**spec.params, "checkpointed": checkpointed})).eval()
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for leaf in (x, x.clone().requires_grad_()):
        with seeded("trace"):
            purified, after = purifier(leaf), torch.rand(3)
        with seeded("trace"):
            states, after_trace = purifier.trace(leaf), torch.rand(3)
        assert torch.equal(states[-1].image, purified)
        assert torch.equal(after, after_trace)  # as many random numbers were drawn
        assert (states[-1].step, states[-1].round, float(states[-1].scale)) == (0, 0, 1.0)
        assert 0 <= states[-1].image.min() <= states[-1].image.max() <= 1


@EACH
@pytest.mark.parametrize("checkpointed", [True, False])
def test_gradients_of_all_states_match_finite_differences(make, network, x, checkpointed, gradient_error):
    """A different weighted sum of every state, in float64 under the same noise."""
    purifier = make(network.double(), checkpointed=checkpointed).double()

    def weighted(images):
        states = purifier.trace(images)
        total = sum((number + 1) * state.state for number, state in enumerate(states))
        return total + sum(state.reference for state in states if state.refer is not None)

    gradient, error = gradient_error(weighted, x[:2].double(), "trace", 1e-5)
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-5


def test_a_chain_adds_the_gradients_of_all_states_in_one_backward_pass():
    calls = []

    def step(state):
        calls.append(1)
        return torch.sin(2 * state)

    gradients = []
    for checkpointed in (True, False):
        calls.clear()
        leaf = torch.linspace(0, 1, 12, dtype=torch.float64).view(3, 1, 2, 2).requires_grad_()
        states = run_through(leaf, [step] * 6, checkpointed)
        total = sum((number + 2) * state.square().sum() for number, state in enumerate(states))
        gradients.append(torch.autograd.grad(total, leaf)[0])
        assert len(calls) == (12 if checkpointed else 6)  # each step is computed once more, whatever the states
        assert torch.equal(states[-1], run(leaf, [step] * 6, checkpointed))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("every", [True, False])
def test_states_keep_a_fixed_size_per_step_for_any_network_depth(every):
    def kept_bytes(steps, depth):
        asked = torch.full((2, 1, 8, 8), 0.5, requires_grad=True)
        purifier, found = DiffPure(Smooth(depth).requires_grad_(False), t=60, steps=steps), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
            states = purifier.trace(asked)
            total = sum(state.state.sum() for state in states) if every else states[-1].state.sum()
        assert total.requires_grad
        return sum(tensor.nbytes for tensor in found)

    image = 2 * 8 * 8 * 4
    assert 0 < kept_bytes(12, 1) - kept_bytes(4, 1) <= 8 * (image + 64)
    assert kept_bytes(8, 6) == kept_bytes(8, 1)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_the_reference_is_the_input_with_the_noise_of_the_forward_process(network, x, sampler):
    purifier = DiffPure(network, t=60, steps=5, sampler=sampler)
    with seeded("reference"):
        first = torch.randint(2**62, (6,)).tolist()[0]
    with seeded("reference"):
        states = purifier.trace(x)
    noise = seeded_noise(x, first)
    levels = [*noise_levels()[ladder(60, 5)[1:-1]].tolist(), 1.0]
    assert [state.step for state in states] == [4, 3, 2, 1, 0]
    for state, level in zip(states, levels, strict=True):
        assert float(state.scale) == pytest.approx(math.sqrt(level))
        expected = math.sqrt(level) * (2 * x - 1) + math.sqrt(1 - level) * noise
        torch.testing.assert_close(state.reference, expected)
    torch.testing.assert_close(states[-1].reference, 2 * x - 1)


def test_the_states_of_the_sde_have_the_levels_of_its_clock(network, x):
    purifier = DiffPureSDE(network, t=0.1, steps=2)
    with seeded("sde"):
        first, last = purifier.trace(x)
    with seeded("sde"):
        seed = torch.randint(2**62, (3,)).tolist()[0]
    level = math.exp(-(0.1 * 0.05 + 19.9 * 0.05**2 / 2))
    torch.testing.assert_close(
        first.reference, math.sqrt(level) * (2 * x - 1) + math.sqrt(1 - level) * seeded_noise(x, seed)
    )
    assert (first.step, last.step) == (1, 0)


@pytest.mark.parametrize("make", [MAKE["gdmp"], MAKE["gradual"]])
def test_each_round_has_its_own_forward_noise(make, network, x):
    with seeded("rounds"):
        states = make(network).trace(x)
    rounds = max(state.round for state in states) + 1
    steps = max(state.step for state in states) + 1
    assert [(state.round, state.step) for state in states] == [
        (turn, step) for turn in reversed(range(rounds)) for step in reversed(range(steps))
    ]
    noises = {}
    for state in states:
        scale = float(state.scale)
        if scale < 1:
            noise = (state.reference - scale * (2 * x - 1)) / math.sqrt(1 - scale**2)
            torch.testing.assert_close(noise, noises.setdefault(state.round, noise), rtol=1e-3, atol=1e-3)
    assert len(noises) == rounds
    assert not torch.allclose(noises[0], noises[1], atol=0.5)


def test_purifiers_without_a_forward_process_have_states_without_reference(network, x):
    for purifier in (LikelihoodMaximisation(network, steps=2), EBMLangevin(Quadratic(), steps=2, rate=0.1)):
        for state in purifier.trace(x):
            assert float(state.scale) == 1
            with pytest.raises(Inapplicable, match="no reference"):
                _ = state.reference
        with pytest.raises(Inapplicable, match="does not diffuse"):
            purifier.noised(x)


def test_purifiers_without_steps_offer_neither_states_nor_a_shorter_version(x):
    purifier = Function(torch.clone, random=False)
    for ask in (purifier.trace, purifier.noised, lambda _: purifier.shortened()):
        with pytest.raises(Inapplicable):
            ask(x)


def test_the_one_step_denoiser_of_smoothing_has_no_states(network, x):
    purifier = OneStep(network, sigma=0.1)
    assert purifier(x).shape == x.shape
    with pytest.raises(Inapplicable, match="no intermediate states"):
        purifier.trace(x)


def test_a_linear_chain_has_the_analytic_jacobian_at_every_state():
    defense, x = linear_defense(), points(1)
    purifier = defense.purifier
    for number, expected in enumerate(purifier.jacobians()):
        with seeded("jacobian"):
            found = torch.autograd.functional.jacobian(lambda images, n=number: purifier.trace(images)[n].state, x)
        torch.testing.assert_close(found.view(expected.shape), expected)
    assert len(purifier.trace(x)) == len(LEVELS) - 1
    assert purifier.trace(x)[0].state.shape == (1, *SHAPE)


@EACH
def test_noised_images_are_those_from_which_the_purification_starts(make, network, x):
    purifier = make(network)
    if isinstance(purifier, LikelihoodMaximisation):
        return
    if isinstance(purifier, GDMP | GradualNoise):
        # their first step adds the noise, and gradual noise starts with less of it than in its last run
        with seeded("noised"):
            (seed,) = torch.randint(2**62, (1,)).tolist()
        start = purifier.diffuse(2 * x - 1, purifier.top, seed)
    else:
        with seeded("noised"):
            start = purifier.plan(x).start
    with seeded("noised"):
        assert torch.equal(purifier.noised(x), from_signed(start))


@EACH
def test_a_purifier_shortened_to_its_own_steps_is_itself(make, network, x):
    purifier = make(network)
    assert torch.equal(answer(purifier.shortened(100, 100), x), answer(purifier, x))
    before = answer(purifier, x)
    assert not torch.allclose(answer(purifier.shortened(1), x), before, atol=1e-4)
    assert torch.equal(answer(purifier, x), before)  # the purifier itself was not changed


def test_shortened_purifiers_take_the_noise_levels_of_their_own_with_fewer_steps(network, x):
    assert torch.equal(DiffPure(network, t=60, steps=5).shortened(2).times, ladder(60, 2))
    assert torch.equal(DiffPure(network, t=60, steps=5).shortened().times, ladder(60, 2))
    assert torch.equal(DiffPure(network, t=60, steps=1).shortened().times, ladder(60, 1))
    expected = answer(GDMP(network, t=60, steps=1, rounds=2), x)
    assert torch.equal(answer(GDMP(network, t=60, steps=3, rounds=4).shortened(1, 2), x), expected)
    assert GDMP(network, t=60, steps=3, rounds=4).shortened().rounds == 4
    assert torch.equal(
        answer(DiffPureSDE(network, t=0.1, steps=6).shortened(), x), answer(DiffPureSDE(network, t=0.1, steps=3), x)
    )


def test_the_surrogate_of_lee_and_kim_drops_runs(network, x):
    """Their eight runs become the runs 30, 50 and 125, with 1, 1 and 5 steps."""
    assert GradualNoise(network).shortened(1, 3).schedule == (30, 50, 125)
    half = GradualNoise(network, steps=4).shortened()
    assert (half.schedule, half.steps) == ((30, 30, 50, 125), (2,) * 4)
    theirs = GradualNoise(network, schedule=(30, 50, 125), steps=(1, 1, 5))
    assert [len(list(group)) for group in ([s for s in theirs.trace(x) if s.round == n] for n in (2, 1, 0))] == [
        1,
        1,
        5,
    ]
    assert GradualNoise(network, schedule=(9, 9), steps=(2, 3)).shortened(2, 2).steps == (2, 2)


def test_searches_are_shortened_with_longer_steps(network):
    """steps × rate, and for Langevin also the total variance of the noise 2·rate·temperature·steps, stay the same."""
    made = EBMLangevin(Quadratic(), steps=40, rate=0.01, temperature=1e-3).shortened(10)
    assert (made.steps, made.rate, made.temperature) == (10, pytest.approx(0.04), 1e-3)
    made = LikelihoodMaximisation(network, steps=4, rate=0.03).shortened()
    assert (made.steps, made.rate) == (2, pytest.approx(0.06))


def test_a_vote_is_shortened_and_noised_draw_by_draw(network, x):
    votes = Votes(DiffPure(network, t=60, steps=4), 3)
    with seeded("vote"):
        expected = DiffPure(network, t=60, steps=2)(x.repeat_interleave(3, 0)).view(4, 3, 1, 8, 8)
    with seeded("vote"):
        assert torch.equal(votes.shortened(2)(x), expected)
    assert votes.noised(x).shape == (4, 3, 1, 8, 8)
