"""What all diffusion purifiers share: noising, the reverse step, seeded noise, and a chain of steps in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.unet import noise_levels

SURROGATES = ("identity", "denoiser")
Step = Callable[[Tensor], Tensor]


def diffuse(x: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """x at noise level 1 [N,C,H,W] in [-1,1] → a draw of q(x_t | x) with that noise, alpha-bar being `level`."""
    return level.sqrt() * x + (1 - level).sqrt() * noise


def denoise(x: Tensor, predicted: Tensor, now: Tensor) -> Tensor:
    """The image that x at alpha-bar `now` comes from, if the predicted noise is right, clipped to [-1,1].

    By Tweedie's formula it is the posterior mean of x_0 given x_t (Ho et al. 2020, eq. 15).
    """
    return ((x - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-1, 1)


def reverse_step(
    x: Tensor, predicted: Tensor, now: Tensor, then: Tensor, noise: Tensor | None, guidance: Tensor | None = None
) -> Tensor:
    """x at noise level `now` → x at the lower level `then` (alpha-bar values, scalars), from the predicted noise.

    noise None: DDIM with eta = 0. Else DDPM's posterior q(x_then | x_now, x_0) with that noise and the posterior
    variance of eq. 7; no noise is added when `then` is 1. The predicted x_0 is clipped to [-1,1], and DDIM's direction
    follows from the clipped one, as in guided-diffusion, on which DiffPure is built. guidance: of DDPM alone, a
    gradient like x that shifts the mean by the variance times itself (Dhariwal & Nichol 2021, alg. 1).
    """
    origin = denoise(x, predicted, now)
    if noise is None:
        direction = (x - now.sqrt() * origin) / (1 - now).sqrt()
        return then.sqrt() * origin + (1 - then).sqrt() * direction
    alpha = now / then
    beta = 1 - alpha
    mean = (then.sqrt() * beta * origin + alpha.sqrt() * (1 - then) * x) / (1 - now)
    variance = beta * (1 - then) / (1 - now)
    if guidance is not None:
        mean = mean + variance * guidance
    return mean + variance.sqrt() * noise


def ladder(t: int, steps: int) -> Tensor:
    """Timesteps of `steps` even reverse steps from t* = t to the clean image: int64 [steps+1], t-1 first, -1 last.

    >>> ladder(150, 4).tolist()
    [149, 111, 74, 37, -1]
    """
    return torch.linspace(t, 0, steps + 1).round().long() - 1


def draw_seeds(count: int) -> list[int]:
    """Seeds of `count` noises, from torch's global generator."""
    seeds: list[int] = torch.randint(2**62, (count,)).tolist()
    return seeds


def seeded_noise(x: Tensor, seed: int) -> Tensor:
    """Standard normal noise like x, decided by the seed and the device's generator."""
    generator = torch.Generator(device=x.device).manual_seed(seed)
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class Chain(torch.autograd.Function):
    """Steps one after the other, of which only the states [N,C,H,W] between them are kept for the backward pass.

    There each step is taken again, from the last to the first, and its gradient with it. torch's own checkpoints would
    keep a graph of every step without its tensors, and states here and there between the features, where they break up
    the heap: a hundred steps took four times the memory of ten. Gradients flow to the state alone, not to the network:
    what else a step needs of the image must travel in the state.
    """

    @staticmethod
    def forward(context: Any, state: Tensor, steps: Sequence[Step]) -> Tensor:
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


def run(state: Tensor, steps: Sequence[Step], checkpointed: bool) -> Tensor:
    """The state after all steps; checkpointed: as a Chain, where a gradient is asked for."""
    if checkpointed and torch.is_grad_enabled() and state.requires_grad:
        chained: Tensor = Chain.apply(state, steps)
        return chained
    for step in steps:
        state = step(state)
    return state


def gradient_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient [N,…] of a function of N points ([N,…] → [N]) at them, taken even where gradients are off.

    It can itself be differentiated where `at` asks for gradients: a step along it then has its exact slope.
    """
    differentiated = torch.is_grad_enabled() and at.requires_grad
    with torch.enable_grad():
        asked = at if differentiated else at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(asked).sum(), asked, create_graph=differentiated)
    return gradient


class DiffusionPurifier(Purifier):
    """A purifier over any noise-prediction network eps(x_t, t) on [-1,1], with timesteps [N] counted from 0.

    levels: alpha-bar of the network's timesteps [T], DDPM's linear schedule unless given; t: the timestep t* in 1..T
    whose noise the surrogate takes away; checkpointed: recompute each step in the backward pass.
    surrogate: what BPDA differentiates: `identity`, or `denoiser`, noise to t* and one step back, with noise of its
    own. Raises PurebenchError for other values.
    """

    random = True

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int,
        levels: Tensor | None = None,
        checkpointed: bool = True,
        surrogate: str = "identity",
    ):
        super().__init__()
        levels = noise_levels() if levels is None else levels
        if surrogate not in SURROGATES:
            raise PurebenchError(f"surrogate: expected {' or '.join(SURROGATES)}, but got {surrogate!r}.")
        if not (isinstance(t, int) and 1 <= t <= len(levels)):
            raise PurebenchError(f"t: expected a whole number in 1..{len(levels)}, but got {t!r}.")
        self.network, self.checkpointed, self.stand_in, self.top = network, checkpointed, surrogate, t - 1
        self.register_buffer("levels", torch.cat([levels, torch.ones(1)]), persistent=False)

    def level(self, t: Tensor | int) -> Tensor:
        """Alpha-bar at a timestep, a scalar; -1 is the clean image, 1."""
        level: Tensor = self.get_buffer("levels")[t]
        return level

    def predict(self, state: Tensor, t: Tensor) -> Tensor:
        """The network's noise in a state [N,C,H,W] at a timestep, a scalar tensor."""
        predicted: Tensor = self.network(state, t.expand(len(state)))
        return predicted

    def surrogate(self, x: Tensor) -> Tensor:
        """The identity, or the posterior mean of the image given a draw of it at t*, in [0,1]."""
        if self.stand_in == "identity":
            return x
        (seed,) = draw_seeds(1)
        level = self.level(self.top)
        state = diffuse(2 * x - 1, level, seeded_noise(x, seed))
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, level) + 1) / 2


def require(name: str, good: bool, expected: str, **came: object) -> None:
    """Raises PurebenchError, which says what was expected and what came, unless the values are good."""
    if not good:
        values = ", ".join(f"{key}={value}" for key, value in came.items())
        raise PurebenchError(f"{name}: expected {expected}, but got {values}.")
