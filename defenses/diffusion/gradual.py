"""Gradual noise scheduling: several purification runs with increasing noise (Lee & Kim 2023, arXiv:2303.09051).

The first runs add little noise, which is enough to remove a small perturbation. Only the later runs add noise that
also changes the image. The default schedule has the shape of the paper's for CIFAR-10: four runs with a low t*, two
with a middle one, two with a high one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sampling import (
    DiffusionPurifier,
    Step,
    diffuse,
    draw_seeds,
    ladder,
    require,
    reverse_step,
    run,
    seeded_noise,
)
from purebench.defenses.diffusion.unet import noise_levels

SCHEDULE = (30, 30, 30, 30, 50, 50, 125, 125)


class GradualNoise(DiffusionPurifier):
    """Diffusion to each t* of a schedule and back, run by run, with any noise-prediction network.

    The state is clipped to [-1,1] between runs, like the prediction of every step.

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        schedule: timesteps t* in 1..1000 of the runs, none smaller than the one before.
        steps: DDPM steps of a run, evenly spaced, at most the smallest t*.
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, as of DiffPure, with the last t*.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        schedule: Sequence[int] = SCHEDULE,
        steps: int = 1,
        levels: Tensor | None = None,
        checkpointed: bool = True,
        surrogate: str = "identity",
    ):
        levels = noise_levels() if levels is None else levels
        whole = len(schedule) > 0 and all(isinstance(t, int) and 1 <= t <= len(levels) for t in schedule)
        rising = whole and list(schedule) == sorted(schedule)
        require(
            "gradual-noise",
            rising and isinstance(steps, int) and 1 <= steps <= schedule[0],
            f"a rising schedule of whole t in 1..{len(levels)} and whole steps in 1..its first",
            schedule=list(schedule),
            steps=steps,
        )
        super().__init__(network, t=schedule[-1], levels=levels, checkpointed=checkpointed, surrogate=surrogate)
        self.schedule, self.steps = tuple(schedule), steps

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images in [0,1]; all noise derives from one draw of torch's global generator."""
        seeds = iter(draw_seeds(len(self.schedule) * (self.steps + 1)))
        steps: list[Step] = []
        for t in self.schedule:
            times = ladder(t, self.steps).to(x.device)
            steps.append(partial(self.noise, now=times[0], seed=next(seeds)))
            for now, then in pairwise(times):
                steps.append(partial(self.step, now=now, then=then, seed=next(seeds)))
        return ((run(2 * x - 1, steps, self.checkpointed) + 1) / 2).clamp(0, 1)

    def noise(self, state: Tensor, now: Tensor, seed: int) -> Tensor:
        """Diffuse the clean state to the run's t* at the start of a run.

        Args:
            state: clean images [N,C,H,W] in [-1,1].
            now: timestep t* of the run, a scalar tensor.
            seed: seed of the noise.

        Returns:
            Noised images [N,C,H,W].
        """
        return diffuse(state, self.level(now), seeded_noise(state, seed))

    def step(self, state: Tensor, now: Tensor, then: Tensor, seed: int) -> Tensor:
        """Take one DDPM step between two timesteps.

        Args:
            state: images [N,C,H,W] at timestep `now`, scaled to [-1,1].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seed: seed of the step's noise.

        Returns:
            Images [N,C,H,W] at timestep `then`.
        """
        noise = seeded_noise(state, seed)
        return reverse_step(state, self.predict(state, now), self.level(now), self.level(then), noise)


def gradual_noise(
    *,
    weights: str = "fashion-ddpm",
    schedule: Sequence[int] = SCHEDULE,
    steps: int = 1,
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> GradualNoise:
    """Purify in several short runs with increasing t*: gradual noise scheduling (Lee & Kim 2023).

    Args:
        weights: weights of the network, as of `networks.network`.
        schedule: timesteps t* of the runs, none smaller than the one before.
        steps: DDPM steps of a run, at most the smallest t*.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: architecture of the network, as of `networks.network`.
    """
    return GradualNoise(
        network(weights, architecture), schedule=schedule, steps=steps, checkpointed=checkpointed, surrogate=surrogate
    )
