"""Tests all diffusion purifiers: gradients, memory, surrogates and invalid values."""

from __future__ import annotations

import weakref

import pytest
import torch
from smooth_network import Smooth, answer
from torch import nn

from purebench.attacks.views.gradient_modes import bpda
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood import LikelihoodMaximisation
from purebench.defenses.diffusion.sampling import denoise, diffuse, noise_levels
from purebench.defenses.diffusion.sde import DiffPureSDE
from purebench.defenses.diffusion.sde_rules import RELEASED, Rules

MAKE = {
    "ddpm": lambda network, **more: DiffPure(network, t=60, steps=5, **more),
    "ddim": lambda network, **more: DiffPure(network, t=60, steps=5, sampler="ddim", **more),
    "gradual": lambda network, **more: GradualNoise(network, schedule=(10, 20, 60), steps=2, **more),
    "gdmp": lambda network, **more: GDMP(network, t=60, steps=3, rounds=2, **more),
    "likelihood": lambda network, **more: LikelihoodMaximisation(network, t=200, draws=2, steps=3, **more),
    "sde": lambda network, **more: DiffPureSDE(network, t=0.1, steps=6, **more),
    "sde as released": lambda network, **more: DiffPureSDE(network, t=0.006, steps=6, rules=RELEASED, **more),
    "gdmp with beta": lambda network, **more: GDMP(network, t=6, steps=3, kept=100, variance="beta", start=7, **more),
}
EACH = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def rules(network, **options):
    """Make a purifier whose rules have the given options."""
    return DiffPureSDE(network, rules=Rules(**options))


class Kept:
    """A tensor saved for the backward pass."""

    def __init__(self, t):
        self.t = t


@EACH
@pytest.mark.parametrize(("dtype", "bar", "step"), [(torch.float64, 1e-5, 1e-5), (torch.float32, 1e-2, 1e-2)], ids=str)
@pytest.mark.parametrize("checkpointed", [True, False])
def test_gradient_matches_finite_differences(make, network, x, dtype, bar, step, checkpointed, gradient_error):
    purifier = make(network.to(dtype), checkpointed=checkpointed).to(dtype)
    gradient, error = gradient_error(purifier, x[:2].to(dtype), "gradient", step)
    assert gradient.abs().max() > 1e-3
    assert error <= bar


@EACH
def test_checkpointing_does_not_change_the_gradient_if_the_random_state_advances(make, network, x):
    gradients = []
    for checkpointed in (True, False):
        asked = x.clone().requires_grad_()
        purified = answer(make(network, checkpointed=checkpointed), asked)
        torch.randn(17)  # advances the generator before the noise is replayed
        gradients.append(torch.autograd.grad(purified.square().sum(), asked)[0])
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7)


@EACH
def test_requiring_a_gradient_does_not_change_the_result(make, network, x):
    with torch.no_grad():
        plain = answer(make(network), x)
    assert torch.allclose(answer(make(network), x.clone().requires_grad_()), plain, atol=1e-6)
    assert plain.min() >= 0
    assert plain.max() <= 1


@EACH
def test_seed_determines_the_result(make, network, x):
    purifier = make(network)
    assert purifier.random is True
    assert torch.equal(answer(purifier, x, "a"), answer(purifier, x, "a"))
    assert not torch.allclose(answer(purifier, x, "a"), answer(purifier, x, "b"), atol=1e-4)


@EACH
def test_images_of_a_batch_do_not_influence_each_other(make, network, x, assert_images_are_independent):
    assert_images_are_independent(lambda images: make(network)(images) + 0 * images, x)


LONG = {
    "gradual": (lambda network, n, kept: GradualNoise(network, schedule=(9,) * n, steps=1, checkpointed=kept), 2, 1),
    "gdmp": (lambda network, n, kept: GDMP(network, t=100, steps=n, rounds=1, checkpointed=kept), 1, 2),
    "likelihood": (lambda network, n, kept: LikelihoodMaximisation(network, steps=n, checkpointed=kept), 1, 3),
    "sde": (lambda network, n, kept: DiffPureSDE(network, steps=n, checkpointed=kept), 1, 1),
    "adjoint": (
        lambda network, n, kept: DiffPureSDE(
            network, steps=n, gradient="adjoint" if kept else "exact", checkpointed=False
        ),
        1,
        0,
    ),
}


@pytest.mark.parametrize(("make", "states", "images"), LONG.values(), ids=LONG)
def test_checkpointed_forward_pass_saves_a_fixed_size_per_step_for_any_network_depth(make, states, images):
    """Each step saves `states` states of `images` images each; the adjoint saves none."""

    def kept_bytes(steps, depth, checkpointed):
        asked = torch.full((2, 1, 8, 8), 0.5, requires_grad=True)
        purifier = make(Smooth(depth).requires_grad_(False), steps, checkpointed)
        saved = weakref.WeakSet()  # a step may compute a gradient and release its tensors
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.add(kept := Kept(t)) or kept, lambda kept: kept.t
        ):
            purified = purifier(asked)
        total = sum(kept.t.nbytes for kept in saved)
        assert purified.requires_grad
        return total

    growth = (kept_bytes(12, 1, True) - kept_bytes(4, 1, True)) / 8
    image = 2 * 8 * 8 * 4
    assert growth <= states * images * image + 64
    assert kept_bytes(8, 6, True) == kept_bytes(8, 1, True)
    # without checkpointing both grow, so the test can detect growth
    assert (kept_bytes(12, 1, False) - kept_bytes(4, 1, False)) / 8 > 5 * image
    assert kept_bytes(8, 6, False) > 1.5 * kept_bytes(8, 1, False)


def test_denoiser_surrogate_is_the_posterior_mean_of_a_noised_image(network, x):
    for make in MAKE.values():
        purifier = make(network, surrogate="denoiser")
        assert make(network).surrogate(x) is x
        with seeded("surrogate"):
            (seed,) = torch.randint(2**62, (1,)).tolist()
        level = noise_levels()[purifier.top]
        state = diffuse(2 * x - 1, level, seeded_noise(x, seed))
        origin = denoise(state, network(state, torch.full((4,), purifier.top)), level)
        with seeded("surrogate"):
            shown = purifier.surrogate(x.requires_grad_())
        assert torch.allclose(shown, (origin + 1) / 2, atol=1e-6)
        (slope,) = torch.autograd.grad(shown.sum(), x)
        assert (slope - 1).abs().max() > 1e-3
        x = x.detach()


@EACH
def test_bpda_propagates_the_gradient_at_the_purified_images_through_the_denoiser(make, network, x):
    """The forward pass runs the whole purifier, the backward pass a separate denoising step."""
    purifier = make(network, surrogate="denoiser")
    layer = nn.Linear(64, 3).requires_grad_(False)
    classifier, y = nn.Sequential(nn.Flatten(), nn.Tanh(), layer), torch.tensor([0, 1, 2, 0])
    view = bpda(as_defense(purifier, classifier))
    with seeded("bpda"):
        look = view.look(x, y, lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="none"))
    leaf = x.clone().requires_grad_()
    with seeded("bpda"):
        with torch.no_grad():
            purified = purifier(x)
        shown = purifier.surrogate(leaf)
    at = purified.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(classifier(at), y, reduction="sum"), at)
    (expected,) = torch.autograd.grad(shown, leaf, slope)
    assert torch.allclose(look.logits[:, 0], classifier(purified), atol=1e-6)
    assert torch.allclose(look.gradient, expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(look.gradient, slope, rtol=0.1), "the identity would have done"


def test_surrogate_does_not_change_the_forward_pass(network, x):
    for make in MAKE.values():
        assert torch.equal(answer(make(network), x), answer(make(network, surrogate="denoiser"), x))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (DiffPure, {"surrogate": "twin"}, "expected identity or denoiser, but got 'twin'"),
        (GradualNoise, {"schedule": (50, 30)}, "expected a rising schedule"),
        (GradualNoise, {"schedule": ()}, "expected a rising schedule"),
        (GradualNoise, {"schedule": (5, 9), "steps": 6}, "whole steps in 1..its first"),
        (GDMP, {"rounds": 0}, "rounds from 1, .*but got t=100, steps=4, rounds=0"),
        (GDMP, {"t": 0}, "expected whole t in 1..1000"),
        (GDMP, {"eps": 0}, "expected eps in"),
        (GDMP, {"guide": "both"}, "expected guide noised or input, but got guide=both"),
        (GDMP, {"start": 99}, "start from t, but got t=100"),
        (GDMP, {"kept": 50}, r"whole t in 1\.\.50, "),
        (GDMP, {"steps": 1, "variance": "beta"}, "at least 2 steps for a variance"),
        (DiffPure, {"variance": "learned"}, "twice as many outputs as channels"),
        (DiffPure, {"variance": "unit"}, "expected posterior, beta, learned, but got 'unit'"),
        (GDMP, {"scale": float("nan")}, "scale from 0"),
        (LikelihoodMaximisation, {"draws": 0}, "draws in 1..t"),
        (LikelihoodMaximisation, {"radius": -1}, "rate and radius in"),
        (LikelihoodMaximisation, {"momentum": 1.0}, "momentum in"),
        (DiffPureSDE, {"gradient": "reverse"}, "expected gradient exact or adjoint, but got gradient=reverse"),
        (DiffPureSDE, {"t": 0}, r"expected t in \[0.001,1\]"),
        (DiffPureSDE, {"steps": 0}, "whole steps from 1"),
        (rules, {"width": "end"}, "expected width integral or start, but got width=end"),
        (rules, {"end": 0.01}, r"expected end in \[0,0.001\]"),
        (DiffPureSDE, {"first": 2, "last": 1}, "0 < first <= last"),
    ],
)
def test_invalid_values_are_rejected(network, make, options, message):
    with pytest.raises(PurebenchError, match=message):
        make(network, **options)
