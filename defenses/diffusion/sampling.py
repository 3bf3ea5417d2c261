"""The formulas of DDPM and DDIM: noise levels, noising, the reverse step, and its timesteps."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_levels(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Return the cumulative products alpha-bar_t of DDPM's linear schedule.

    Args:
        steps: number of timesteps.
        first: beta of the first timestep.
        last: beta of the last timestep.

    Returns:
        alpha-bar by timestep, float32 [steps].
    """
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0).float()


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
