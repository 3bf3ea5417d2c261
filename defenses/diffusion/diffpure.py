"""DiffPure: noise the image to t*, then run the reverse process back to it (Nie et al. 2022, arXiv:2205.07460).

The reverse steps are those of DDPM (Ho et al. 2020, eq. 6-7 between any two timesteps) or DDIM (Song et al. 2021,
arXiv:2010.02502, eq. 12 with eta = 0). Each step is checkpointed and its noise comes from a seed of its own, so the
exact gradient replays the same noise, and of a step more only its state is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from purebench.defense import Purifier
from purebench.defenses.checkpoints import load
from purebench.defenses.diffusion.unet import FoldedUNet, noise_levels
from purebench.errors import PurebenchError

SAMPLERS = ("ddpm", "ddim")


def reverse_step(x: Tensor, predicted: Tensor, now: Tensor, then: Tensor, noise: Tensor | None) -> Tensor:
    """x at noise level `now` → x at the lower level `then` (alpha-bar values, scalars), from the predicted noise.

    noise None: DDIM with eta = 0. Else DDPM's posterior q(x_then | x_now, x_0) with that noise and the posterior
    variance of eq. 7; no noise is added when `then` is 1. The predicted x_0 is clipped to [-1,1], and DDIM's direction
    follows from the clipped one, as in guided-diffusion, on which DiffPure is built.
    """
    origin = ((x - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-1, 1)
    if noise is None:
        direction = (x - now.sqrt() * origin) / (1 - now).sqrt()
        return then.sqrt() * origin + (1 - then).sqrt() * direction
    alpha = now / then
    beta = 1 - alpha
    mean = (then.sqrt() * beta * origin + alpha.sqrt() * (1 - then) * x) / (1 - now)
    variance = beta * (1 - then) / (1 - now)
    return mean + variance.sqrt() * noise


class Chain(torch.autograd.Function):
    """Steps one after the other, of which only the states [N,C,H,W] between them are kept for the backward pass.

    There each step is taken again, from the last to the first, and its gradient with it. torch's own checkpoints would
    keep a graph of every step without its tensors, and states here and there between the features, where they break up
    the heap: a hundred steps took four times the memory of ten. Gradients flow to the state alone, not to the network.
    """

    @staticmethod
    def forward(context: Any, state: Tensor, steps: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """The state after all steps."""
        context.steps = steps
        kind = state.device.type
        context.autocast = torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        kept = state.new_empty(len(steps), *state.shape)
        for slot, step in zip(kept, steps, strict=True):
            slot.copy_(state)
            state = step(state)
        context.save_for_backward(kept)
        return state

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient at the state before all steps."""
        (gradient,), (kept,) = gradients, context.saved_tensors
        for before, step in zip(reversed(kept), reversed(context.steps), strict=True):
            leaf = before.detach().requires_grad_()
            with torch.enable_grad(), context.autocast:
                after = step(leaf)
            (gradient,) = torch.autograd.grad(after, leaf, gradient)
        return gradient, None


class DiffPure(Purifier):
    """Diffusion to t* and back in `steps` steps, over any noise-prediction network eps(x_t, t) on [-1,1].

    t: timestep t* in 1..1000 of the network's schedule; steps: reverse steps, evenly spaced from t* to the clean image,
    at most t; sampler: ddpm or ddim; checkpointed: recompute each step in the backward pass. Only the forward noise
    makes DDIM random. Raises PurebenchError for other values.
    """

    random = True

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int = 150,
        steps: int = 4,
        sampler: str = "ddpm",
        levels: Tensor | None = None,
        checkpointed: bool = True,
    ):
        super().__init__()
        levels = noise_levels() if levels is None else levels
        if sampler not in SAMPLERS:
            raise PurebenchError(f"diffpure: expected sampler ddpm or ddim, but got {sampler!r}.")
        whole = isinstance(t, int) and isinstance(steps, int)
        if not (whole and 1 <= t <= len(levels) and 1 <= steps <= t):
            raise PurebenchError(
                f"diffpure: expected whole t in 1..{len(levels)} and steps in 1..t, but got t={t}, steps={steps}."
            )
        self.network, self.sampler, self.checkpointed = network, sampler, checkpointed
        times = torch.linspace(t, 0, steps + 1).round().long()
        self.register_buffer("times", times - 1, persistent=False)
        self.register_buffer("levels", torch.cat([levels, torch.ones(1)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Purified images in [0,1]; one draw of all noises from torch's global generators."""
        times, levels = self.get_buffer("times"), self.get_buffer("levels")
        seeds = torch.randint(2**62, (len(times),)).tolist()
        start = levels[times[0]]
        state = start.sqrt() * (2 * x - 1) + (1 - start).sqrt() * seeded_noise(x, seeds[0])
        steps = [
            partial(self.step, now=now, then=then, seed=seed)
            for now, then, seed in zip(times[:-1], times[1:], seeds[1:], strict=True)
        ]
        if self.checkpointed and torch.is_grad_enabled() and state.requires_grad:
            state = Chain.apply(state, steps)
        else:
            for step in steps:
                state = step(state)
        return ((state + 1) / 2).clamp(0, 1)

    def step(self, state: Tensor, now: Tensor, then: Tensor, seed: int) -> Tensor:
        """One reverse step between two timesteps (-1 is the clean image); the seed decides its noise."""
        levels = self.get_buffer("levels")
        predicted = self.network(state, now.expand(len(state)))
        noise = seeded_noise(state, seed) if self.sampler == "ddpm" else None
        return reverse_step(state, predicted, levels[now], levels[then], noise)


def seeded_noise(x: Tensor, seed: int) -> Tensor:
    """Standard normal noise like x, decided by the seed and the device's generator."""
    generator = torch.Generator(device=x.device).manual_seed(seed)
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def diffpure(
    *,
    weights: str = "fashion-ddpm",
    t: int = 150,
    steps: int = 4,
    sampler: str = "ddpm",
    checkpointed: bool = True,
) -> DiffPure:
    """DiffPure: diffuse the image to t*, then denoise it in a few DDPM or DDIM steps (Nie et al. 2022)."""
    return DiffPure(
        load(weights, "folded-unet", FoldedUNet), t=t, steps=steps, sampler=sampler, checkpointed=checkpointed
    )
