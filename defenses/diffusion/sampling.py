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


def denoise(x: Tensor, predicted: Tensor, now: Tensor, *, clip: bool = True) -> Tensor:
    """Predict the clean image from a noisy one and its predicted noise.

    By Tweedie's formula it is the posterior mean of x_0 given x_t (Ho et al. 2020, eq. 15).

    Args:
        x: noisy images [N,C,H,W], scaled to [-1,1].
        predicted: predicted noise like x.
        now: alpha-bar of x.
        clip: whether to clip the images to [-1,1].

    Returns:
        Images [N,C,H,W].
    """
    origin = (x - (1 - now).sqrt() * predicted) / now.sqrt()
    return origin.clamp(-1, 1) if clip else origin


def posterior_variance(now: Tensor, then: Tensor) -> Tensor:
    """Return the variance of q(x_then | x_now, x_0), a scalar (Ho et al. 2020, eq. 7).

    Args:
        now: alpha-bar of the state, a scalar.
        then: alpha-bar after the step, a scalar.
    """
    return (1 - now / then) * (1 - then) / (1 - now)


def reverse_step(
    x: Tensor,
    predicted: Tensor,
    now: Tensor,
    then: Tensor,
    noise: Tensor | None,
    guidance: Tensor | None = None,
    *,
    clip: bool = True,
    variance: Tensor | None = None,
) -> Tensor:
    """Take one reverse step of DDPM or DDIM from one noise level to a lower one.

    DDIM's direction follows from the predicted x_0 after clipping, as in guided-diffusion, on which DiffPure is built.

    Args:
        x: images [N,C,H,W] at noise level `now`.
        predicted: predicted noise like x.
        now: alpha-bar of x, a scalar.
        then: alpha-bar after the step, a scalar.
        noise: standard normal noise like x for a step of DDPM (not added when `then` is 1); None for DDIM with eta = 0.
        guidance: for DDPM only, a gradient like x; the mean is shifted by the variance times this gradient (Dhariwal &
            Nichol 2021, alg. 1).
        clip: whether the predicted x_0 is clipped to [-1,1].
        variance: the variance of DDPM's step, a scalar or like x; None for the posterior variance.

    Returns:
        Images [N,C,H,W] at noise level `then`.
    """
    origin = denoise(x, predicted, now, clip=clip)
    if noise is None:
        direction = (x - now.sqrt() * origin) / (1 - now).sqrt()
        return then.sqrt() * origin + (1 - then).sqrt() * direction
    alpha = now / then
    mean = (then.sqrt() * (1 - alpha) * origin + alpha.sqrt() * (1 - then) * x) / (1 - now)
    variance = posterior_variance(now, then) if variance is None else variance
    if guidance is not None:
        mean = mean + variance * guidance
    return mean + (then < 1) * variance.sqrt() * noise


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


def respaced(kept: int, total: int = 1000) -> Tensor:
    """Return the timesteps that guided-diffusion keeps when it respaces a schedule to fewer of them.

    They are evenly spaced from the first to the last timestep, rounded.

    Args:
        kept: number of timesteps to keep, at least 2.
        total: number of timesteps of the schedule.

    Returns:
        Timesteps, int64 [kept], rising from 0 to total-1.

    >>> respaced(250)[:4].tolist(), respaced(250)[44].item()
    ([0, 4, 8, 12], 177)
    """
    stride, place, found = (total - 1) / (kept - 1), 0.0, []
    for _ in range(kept):
        found.append(round(place))
        place += stride
    return torch.tensor(found)
