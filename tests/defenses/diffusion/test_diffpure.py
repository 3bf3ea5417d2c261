"""Tests DiffPure against diffusers' schedulers and finite differences, and the memory use of checkpointing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from smooth_network import Smooth, answer
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.sampling import noise_levels

LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def purified_by_diffusers(scheduler, network, x, timesteps, seeds, **options):
    """Purify with the forward noising and reverse steps of a diffusers scheduler, and the given noise seeds."""
    state = scheduler.add_noise(2 * x - 1, seeded_noise(x, seeds[0]), torch.tensor([timesteps[0]]))
    for t, seed in zip(timesteps, seeds[1:], strict=True):
        predicted = network(state, torch.full((len(x),), int(t)))
        generator = torch.Generator().manual_seed(seed)
        state = scheduler.step(predicted, int(t), state, generator=generator, **options).prev_sample
    return ((state + 1) / 2).clamp(0, 1)


def seeds_of(steps: int, words="purifiers") -> list[int]:
    with seeded(words):
        return torch.randint(2**62, (steps + 1,)).tolist()


# (t*, reverse steps): each timestep, every 4th, every 20th, and the whole chain in 4 steps
@pytest.mark.parametrize(("t", "steps"), [(12, 12), (60, 15), (100, 5), (1000, 4)])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_reverse_steps_agree_with_diffusers(network, x, sampler, t, steps):
    if sampler == "ddpm":
        scheduler = DDPMScheduler(**LINEAR, variance_type="fixed_small", clip_sample=True, timestep_spacing="trailing")
        options = {}
    else:
        scheduler = DDIMScheduler(**LINEAR, clip_sample=True, timestep_spacing="trailing")
        options = {"eta": 0.0, "use_clipped_model_output": True}
    scheduler.set_timesteps(1000 * steps // t)
    timesteps = scheduler.timesteps[-steps:].tolist()
    assert timesteps[0] == t - 1
    theirs = purified_by_diffusers(scheduler, network, x, timesteps, seeds_of(steps), **options)
    ours = answer(DiffPure(network, t=t, steps=steps, sampler=sampler), x)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("t", "steps", "timesteps"), [(7, 3, [6, 4, 1]), (30, 4, [29, 21, 14, 7]), (150, 4, [149, 111, 74, 37])]
)
def test_uneven_steps_agree_with_diffusers(network, x, t, steps, timesteps):
    scheduler = DDPMScheduler(**LINEAR, variance_type="fixed_small", clip_sample=True)
    scheduler.set_timesteps(timesteps=timesteps)
    purifier = DiffPure(network, t=t, steps=steps)
    assert purifier.times.tolist() == [*timesteps, -1]
    assert torch.allclose(
        answer(purifier, x), purified_by_diffusers(scheduler, network, x, timesteps, seeds_of(steps)), atol=1e-5
    )


def test_noise_levels_follow_the_linear_schedule():
    levels = noise_levels()
    assert torch.allclose(levels, DDPMScheduler(**LINEAR).alphas_cumprod, rtol=2e-5, atol=1e-7)
    exact = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    assert levels.numpy() == pytest.approx(exact, rel=1e-6)
    assert len(noise_levels(50, 0.001, 0.1)) == 50


def test_perfect_noise_predictor_recovers_the_image(x):
    """If the network predicts the noise in the state exactly, both samplers return to the image."""
    image, levels = 2 * x - 1, noise_levels()

    class PerfectPredictor(nn.Module):
        def forward(self, state, t):
            level = levels[t].view(-1, 1, 1, 1)
            return (state - level.sqrt() * image) / (1 - level).sqrt()

    for sampler in ("ddim", "ddpm"):
        assert torch.allclose(answer(DiffPure(PerfectPredictor(), t=300, steps=6, sampler=sampler), x), x, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("checkpointed", [True, False])
def test_gradient_matches_finite_differences(network, x, sampler, checkpointed, gradient_error):
    purifier = DiffPure(network.double(), t=40, steps=5, sampler=sampler, checkpointed=checkpointed).double()
    gradient, error = gradient_error(purifier, x[:2].double(), "gradient")
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-5


def unet() -> FoldedUNet:
    with seeded("unet"):
        return FoldedUNet(size=16, fold=2, widths=(8, 8), groups=4).eval().requires_grad_(False)


def test_gradient_through_the_unet_matches_finite_differences(gradient_error):
    generator = torch.Generator().manual_seed(0)
    x = 0.4 + 0.2 * torch.rand(2, 1, 16, 16, generator=generator, dtype=torch.float64)
    gradient, error = gradient_error(DiffPure(unet(), t=30, steps=3).double(), x, "gradient")
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-5


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_checkpointing_does_not_change_the_gradient_if_the_random_state_advances(network, x, sampler):
    gradients = []
    for checkpointed in (True, False):
        asked = x.clone().requires_grad_()
        purified = answer(DiffPure(network, t=60, steps=6, sampler=sampler, checkpointed=checkpointed), asked)
        torch.randn(17)  # advances the generator before the noise is replayed
        gradients.append(torch.autograd.grad(purified.square().sum(), asked)[0])
    assert torch.equal(*gradients)


def forward_bytes(steps: int, depth: int, checkpointed: bool) -> int:
    """Return the number of bytes that the forward pass saves for the backward pass."""
    kept = []
    asked = torch.full((2, 1, 8, 8), 0.5, requires_grad=True)
    purifier = DiffPure(Smooth(depth).requires_grad_(False), t=100, steps=steps, checkpointed=checkpointed)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        purifier(asked)
    return sum(kept)


def test_checkpointed_forward_pass_saves_one_image_per_step_for_any_network_depth():
    image = 2 * 8 * 8 * 4
    growth = (forward_bytes(20, 1, True) - forward_bytes(5, 1, True)) / 15
    assert growth <= image + 64
    assert forward_bytes(20, 8, True) == forward_bytes(20, 1, True)
    # without checkpointing both grow, so the test can detect growth
    assert (forward_bytes(20, 1, False) - forward_bytes(5, 1, False)) / 15 > 10 * image
    assert forward_bytes(20, 8, False) > 2 * forward_bytes(20, 1, False)


@pytest.mark.parametrize("steps", [5, 20])
def test_checkpointed_backward_pass_holds_the_features_of_one_step_at_a_time(network, x, steps):
    most = {}
    for checkpointed in (True, False):
        network.alive, network.calls, network.most_alive = [], 0, 0
        asked = x.clone().requires_grad_()
        DiffPure(network, t=100, steps=steps, checkpointed=checkpointed)(asked).sum().backward()
        most[checkpointed] = network.most_alive
        assert network.calls == steps * (1 + checkpointed)
    assert most[False] == steps
    assert most[True] <= 2


def test_seed_determines_the_result(network, x):
    for sampler in ("ddpm", "ddim"):
        purifier = DiffPure(network, t=200, steps=4, sampler=sampler)
        assert purifier.random is True
        assert torch.equal(answer(purifier, x, "a"), answer(purifier, x, "a"))
        assert not torch.allclose(answer(purifier, x, "a"), answer(purifier, x, "b"), atol=1e-3)


def test_each_step_draws_its_own_noise(network, x):
    seen = []
    purifier = DiffPure(network, t=8, steps=4)
    reverse = purifier.reverse
    purifier.reverse = lambda state, seed, **more: seen.append(seed) or reverse(state, seed=seed, **more)
    answer(purifier, x)
    assert len(set(seen)) == 4


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_images_of_a_batch_do_not_influence_each_other(network, x, sampler, assert_images_are_independent):
    assert_images_are_independent(DiffPure(network, t=60, steps=3, sampler=sampler), x)


def test_unet_keeps_the_shape_and_takes_one_timestep_per_image():
    model = unet()
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 500, 999])
    together = model(x, t)
    assert together.shape == x.shape
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(model(x, t.flip(0)), together, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "expected sampler ddpm or ddim, but got 'euler'"),
        *(
            ({"t": t, "steps": steps}, "expected whole t in 1..1000 and steps in 1..t, but got")
            for t, steps in [(0, 1), (1001, 5), (10, 11), (10, 0), (-5, 1), (50.5, 5), (50, 2.5), (math.nan, 1)]
        ),
    ],
)
def test_invalid_values_are_rejected(network, options, message):
    with pytest.raises(PurebenchError, match=message):
        DiffPure(network, **options)
