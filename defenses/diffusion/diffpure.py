"""DiffPure: noise the image to t*, then run the reverse process back to it (Nie et al. 2022, arXiv:2205.07460).

The reverse steps are those of DDPM (Ho et al. 2020, eq. 6-7 between any two timesteps) or DDIM (Song et al. 2021,
arXiv:2010.02502, eq. 12 with eta = 0). Each step is checkpointed and its noise comes from a seed of its own, so the
exact gradient replays the same noise, and of a step more only its state is kept.
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
    """Diffusion to t* and back in `steps` steps, over any noise-prediction network eps(x_t, t) on [-1,1].

    t: timestep t* in 1..1000 of the network's schedule; steps: reverse steps, evenly spaced from t* to the clean image,
    at most t; sampler: ddpm or ddim; checkpointed: recompute each step in the backward pass. Only the forward noise
    makes DDIM random. surrogate: BPDA's, `identity` or the one-step `denoiser`. Raises PurebenchError for other values.
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
        """Purified images in [0,1]; one draw of all noises from torch's global generators."""
        times = self.get_buffer("times")
        seeds = draw_seeds(len(times))
        state = diffuse(2 * x - 1, self.level(times[0]), seeded_noise(x, seeds[0]))
        steps = [
            partial(self.step, now=now, then=then, seed=seed)
            for now, then, seed in zip(times[:-1], times[1:], seeds[1:], strict=True)
        ]
        return ((run(state, steps, self.checkpointed) + 1) / 2).clamp(0, 1)

    def step(self, state: Tensor, now: Tensor, then: Tensor, seed: int) -> Tensor:
        """One reverse step between two timesteps (-1 is the clean image); the seed decides its noise."""
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
    """DiffPure: diffuse the image to t*, then denoise it in a few DDPM or DDIM steps (Nie et al. 2022).

    weights, architecture: of the network, as `networks.network` reads them.
    """
    return DiffPure(
        network(weights, architecture),
        t=t,
        steps=steps,
        sampler=sampler,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
