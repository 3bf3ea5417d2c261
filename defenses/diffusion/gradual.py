"""Gradual noise scheduling: several purifications, the later with more noise (Lee & Kim 2023, arXiv:2303.09051).

The first runs add little noise, which takes away what a small perturbation hides in; only then comes the noise that
changes the image as well. The schedule has the shape of the paper's for CIFAR-10: four runs of a
low t*, two of a middle one, two of a high one.
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
    """Diffusion to each t* of a schedule and back, one run after the other, over any noise-prediction network.

    schedule: the timesteps t* in 1..1000 of the runs, none smaller than the one before; steps: DDPM steps of a run,
    evenly spaced, at most the smallest t*; checkpointed, surrogate: as of DiffPure, the surrogate with the last t*.
    The state is clipped to [-1,1] between runs, as every step's prediction is. Raises PurebenchError for other values.
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
        """Purified images in [0,1]; one draw of all noises from torch's global generators."""
        seeds = iter(draw_seeds(len(self.schedule) * (self.steps + 1)))
        steps: list[Step] = []
        for t in self.schedule:
            times = ladder(t, self.steps).to(x.device)
            steps.append(partial(self.noise, now=times[0], seed=next(seeds)))
            for now, then in pairwise(times):
                steps.append(partial(self.step, now=now, then=then, seed=next(seeds)))
        return ((run(2 * x - 1, steps, self.checkpointed) + 1) / 2).clamp(0, 1)

    def noise(self, state: Tensor, now: Tensor, seed: int) -> Tensor:
        """The clean state of a run's begin at the run's t*; the seed decides the noise."""
        return diffuse(state, self.level(now), seeded_noise(state, seed))

    def step(self, state: Tensor, now: Tensor, then: Tensor, seed: int) -> Tensor:
        """One DDPM step between two timesteps (-1 is the clean image); the seed decides its noise."""
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
    """Gradual noise scheduling: several short purifications with rising t* (Lee & Kim 2023).

    weights, architecture: of the network, as `networks.network` reads them.
    """
    return GradualNoise(
        network(weights, architecture), schedule=schedule, steps=steps, checkpointed=checkpointed, surrogate=surrogate
    )
