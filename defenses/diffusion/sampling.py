"""Shared parts of the diffusion purifiers: noising, the reverse step, seeded noise, memory-efficient step chains."""

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
    """Draw from q(x_t | x), given the noise.

    Args:
        x: images [N,C,H,W] in [-1,1], without noise.
        level: alpha-bar of the timestep.
        noise: standard normal noise like x.

    Returns:
        Noised images [N,C,H,W].
    """
    return level.sqrt() * x + (1 - level).sqrt() * noise


def denoise(x: Tensor, predicted: Tensor, now: Tensor) -> Tensor:
    """Predict the clean image from a noisy one and its predicted noise.

    By Tweedie's formula it is the posterior mean of x_0 given x_t (Ho et al. 2020, eq. 15).

    Args:
        x: noisy images [N,C,H,W], scaled to [-1,1].
        predicted: predicted noise like x.
        now: alpha-bar of x.

    Returns:
        Images [N,C,H,W], clipped to [-1,1].
    """
    return ((x - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-1, 1)


def reverse_step(
    x: Tensor, predicted: Tensor, now: Tensor, then: Tensor, noise: Tensor | None, guidance: Tensor | None = None
) -> Tensor:
    """Take one reverse step of DDPM or DDIM from one noise level to a lower one.

    The predicted x_0 is clipped to [-1,1], and DDIM's direction follows from the clipped one, as in guided-diffusion,
    on which DiffPure is built.

    Args:
        x: images [N,C,H,W] at noise level `now`.
        predicted: predicted noise like x.
        now: alpha-bar of x, a scalar.
        then: alpha-bar after the step, a scalar.
        noise: standard normal noise like x for a draw of DDPM's posterior q(x_then | x_now, x_0) with the posterior
            variance of eq. 7 (no noise is added when `then` is 1); None for DDIM with eta = 0.
        guidance: for DDPM only, a gradient like x; the mean is shifted by the variance times this gradient (Dhariwal &
            Nichol 2021, alg. 1).

    Returns:
        Images [N,C,H,W] at noise level `then`.
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
    """Return the timesteps of evenly spaced reverse steps from t* to the clean image.

    Args:
        t: timestep t*, at least `steps`.
        steps: number of reverse steps.

    Returns:
        Timesteps, int64 [steps+1], from t-1 to -1 (the clean image).

    >>> ladder(150, 4).tolist()
    [149, 111, 74, 37, -1]
    """
    return torch.linspace(t, 0, steps + 1).round().long() - 1


def draw_seeds(count: int) -> list[int]:
    """Draw seeds for `count` noises from torch's global generator."""
    seeds: list[int] = torch.randint(2**62, (count,)).tolist()
    return seeds


def seeded_noise(x: Tensor, seed: int) -> Tensor:
    """Return standard normal noise like x, determined by the seed and the device's generator.

    Args:
        x: tensor whose shape, type and device the noise has.
        seed: seed of the noise.
    """
    generator = torch.Generator(device=x.device).manual_seed(seed)
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class Chain(torch.autograd.Function):
    """Sequence of steps that keeps only the states [N,C,H,W] between them for the backward pass.

    The backward pass recomputes each step, from the last to the first, together with its gradient. torch's own
    checkpoints would keep a graph of every step without its tensors, and would place states between the features in
    memory, where they fragment the heap: a hundred steps took four times the memory of ten. Gradients flow only to the
    state, not to the network: everything of the image that a step needs must be part of the state.
    """

    @staticmethod
    def forward(context: Any, state: Tensor, steps: Sequence[Step]) -> Tensor:
        """Return the state after all steps."""
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
        """Return the gradient at the state before all steps."""
        (gradient,), (kept,) = gradients, context.saved_tensors
        for before, step in zip(reversed(kept), reversed(context.steps), strict=True):
            leaf = before.detach().requires_grad_()
            with torch.enable_grad(), context.autocast:
                after = step(leaf)
            (gradient,) = torch.autograd.grad(after, leaf, gradient)
        return gradient, None


def run(state: Tensor, steps: Sequence[Step], checkpointed: bool) -> Tensor:
    """Run steps one after the other.

    Args:
        state: the state before the steps.
        steps: the steps.
        checkpointed: whether to run them as a Chain when a gradient is required.

    Returns:
        The state after all steps.
    """
    if checkpointed and torch.is_grad_enabled() and state.requires_grad:
        chained: Tensor = Chain.apply(state, steps)
        return chained
    for step in steps:
        state = step(state)
    return state


def gradient_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Compute the gradient of a function of N points, even where gradients are disabled.

    The gradient can itself be differentiated where `at` requires gradients; a step along it then has its exact
    derivative.

    Args:
        function: the function, [N,…] → [N].
        at: the points [N,…].

    Returns:
        The gradient [N,…].
    """
    differentiated = torch.is_grad_enabled() and at.requires_grad
    with torch.enable_grad():
        asked = at if differentiated else at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(asked).sum(), asked, create_graph=differentiated)
    return gradient


class DiffusionPurifier(Purifier):
    """Purifier with a noise-prediction network eps(x_t, t) on [-1,1], with timesteps [N] counted from 0.

    Args:
        network: the noise-prediction network.
        t: timestep t* in 1..T, whose noise the surrogate removes.
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates: `identity`, or `denoiser`, which adds noise up to t* and
            takes one step back, with its own noise.

    Raises:
        PurebenchError: If a value is out of range.
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
        """Return alpha-bar at a timestep, a scalar; timestep -1 is the clean image, with alpha-bar 1."""
        level: Tensor = self.get_buffer("levels")[t]
        return level

    def predict(self, state: Tensor, t: Tensor) -> Tensor:
        """Predict the noise of a state.

        Args:
            state: noisy images [N,C,H,W], scaled to [-1,1].
            t: timestep, a scalar tensor.

        Returns:
            The predicted noise [N,C,H,W].
        """
        predicted: Tensor = self.network(state, t.expand(len(state)))
        return predicted

    def surrogate(self, x: Tensor) -> Tensor:
        """Return x, or the posterior mean of the image given a draw of it at t*, in [0,1]."""
        if self.stand_in == "identity":
            return x
        (seed,) = draw_seeds(1)
        level = self.level(self.top)
        state = diffuse(2 * x - 1, level, seeded_noise(x, seed))
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, level) + 1) / 2


def require(name: str, good: bool, expected: str, **came: object) -> None:
    """Raise PurebenchError that states what was expected and what was given, unless the values are valid.

    Args:
        name: name of the defense, for the error message.
        good: whether the values are valid.
        expected: the expected values, for the error message.
        came: the given values by name, for the error message.

    Raises:
        PurebenchError: If not `good`.
    """
    if not good:
        values = ", ".join(f"{key}={value}" for key, value in came.items())
        raise PurebenchError(f"{name}: expected {expected}, but got {values}.")
