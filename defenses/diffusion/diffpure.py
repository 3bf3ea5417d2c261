"""DiffPure: add noise up to t*, then run the reverse process from there (Nie et al. 2022, arXiv:2205.07460).

The reverse steps are those of DDPM (Ho et al. 2020, eq. 6-7 between any two timesteps) or DDIM (Song et al. 2021,
arXiv:2010.02502, eq. 12 with eta = 0). Each step is checkpointed and draws its noise from its own seed. The exact
gradient therefore replays the same noise, and only the state of each step is kept in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sampling import (
    DiffusionPurifier,
    diffuse,
    draw_seeds,
    ladder,
    reverse_step,
    run,
    seeded_noise,
)
from purebench.defenses.diffusion.unet import noise_levels

SAMPLERS = ("ddpm", "ddim")


class DiffPure(DiffusionPurifier):
    """Diffusion to t* and back in `steps` steps, with any noise-prediction network eps(x_t, t) on [-1,1].

    With DDIM, only the noise of the forward diffusion is random.

    Args:
        network: the noise-prediction network.
        t: timestep t* in 1..1000 of the network's schedule.
        steps: reverse steps, evenly spaced from t* to the clean image, at most t.
        sampler: `ddpm` or `ddim`.
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int = 150,
        steps: int = 4,
        sampler: str = "ddpm",
        levels: Tensor | None = None,
        checkpointed: bool = True,
        surrogate: str = "identity",
    ):
        levels = noise_levels() if levels is None else levels
        if sampler not in SAMPLERS:
            raise PurebenchError(f"diffpure: expected sampler ddpm or ddim, but got {sampler!r}.")
        whole = isinstance(t, int) and isinstance(steps, int)
        if not (whole and 1 <= t <= len(levels) and 1 <= steps <= t):
            raise PurebenchError(
                f"diffpure: expected whole t in 1..{len(levels)} and steps in 1..t, but got t={t}, steps={steps}."
            )
        super().__init__(network, t=t, levels=levels, checkpointed=checkpointed, surrogate=surrogate)
        self.sampler = sampler
        self.register_buffer("times", ladder(t, steps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images in [0,1]; all noise derives from one draw of torch's global generator."""
        times = self.get_buffer("times")
        seeds = draw_seeds(len(times))
        state = diffuse(2 * x - 1, self.level(times[0]), seeded_noise(x, seeds[0]))
        steps = [
            partial(self.step, now=now, then=then, seed=seed)
            for now, then, seed in zip(times[:-1], times[1:], seeds[1:], strict=True)
        ]
        return ((run(state, steps, self.checkpointed) + 1) / 2).clamp(0, 1)

    def step(self, state: Tensor, now: Tensor, then: Tensor, seed: int) -> Tensor:
        """Take one reverse step between two timesteps.

        Args:
            state: images [N,C,H,W] at timestep `now`, scaled to [-1,1].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seed: seed of the step's noise.

        Returns:
            Images [N,C,H,W] at timestep `then`.
        """
        predicted = self.predict(state, now)
        noise = seeded_noise(state, seed) if self.sampler == "ddpm" else None
        return reverse_step(state, predicted, self.level(now), self.level(then), noise)


def diffpure(
    *,
    weights: str = "fashion-ddpm",
    t: int = 150,
    steps: int = 4,
    sampler: str = "ddpm",
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> DiffPure:
    """Diffuse the image to t*, then denoise it in a few DDPM or DDIM steps: DiffPure (Nie et al. 2022).

    Args:
        weights: weights of the network, as of `networks.network`.
        t: timestep t* in 1..1000.
        steps: reverse steps, at most t.
        sampler: `ddpm` or `ddim`.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: architecture of the network, as of `networks.network`.
    """
    return DiffPure(
        network(weights, architecture),
        t=t,
        steps=steps,
        sampler=sampler,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
