"""FreqPure: purification in the frequency domain (Pei et al. 2025, arXiv:2505.01267), as its code was released.

In each step of gradual noise scheduling, the low frequencies of the predicted image are replaced by those of a
reference, which is the input of the run after one step of noising and denoising. The projection of the phases that the
paper describes changes nothing in the release, where the low phases equal the reference's already, so it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor, nn

from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.plan import Mark, Plan
from purebench.defenses.diffusion.purifier import StepOptions
from purebench.defenses.diffusion.sampling import denoise, ladder, posterior_variance
from purebench.defenses.parameters import require


def low_frequencies(x: Tensor, cutoff: float) -> Tensor:
    """Return which frequencies are at most `cutoff` periods an image, [H,W], in the order of torch's FFT."""
    rows, columns = (torch.fft.fftfreq(size, 1 / size, device=x.device) for size in x.shape[-2:])
    low: Tensor = (rows[:, None] ** 2 + columns[None, :] ** 2).sqrt() <= cutoff
    return low


def mixed(x: Tensor, reference: Tensor, cutoff: float) -> Tensor:
    """Replace the low frequencies of images by those of others.

    Both are clipped to [-1,1] and transformed on the scale [0,255]. The absolute value of the inverse transform is
    clipped to [0,255], as in the release.

    Args:
        x: images [N,C,H,W] in [-1,1].
        reference: images like x, which give the low frequencies.
        cutoff: largest low frequency, in periods an image.

    Returns:
        Images [N,C,H,W] in [-1,1].
    """
    high, low = (torch.fft.fft2((image.clamp(-1, 1) + 1) * 127.5) for image in (x, reference))
    both = torch.where(low_frequencies(x, cutoff), low, high)
    back: Tensor = torch.fft.ifft2(both).real.abs().clamp(0, 255)
    return back / 127.5 - 1


class FreqPure(GradualNoise):
    """Runs of DDPM whose predicted images take their low frequencies from a denoised copy of the run's input.

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        schedule: timesteps t* of the runs, none smaller than the one before.
        steps: DDPM steps of a run, one number for all runs or one for each.
        cutoff: largest frequency that is replaced, in periods an image.
        reference: timestep, counted from 1, whose noise the reference gets and loses in one step.
        **options: as for GradualNoise, but for `clip` and `variance`.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        schedule: Sequence[int] = (20,) * 5 + (50,) * 5,
        steps: int | Sequence[int] = 5,
        cutoff: float = 3,
        reference: int = 51,
        **options: Unpack[StepOptions],
    ):
        super().__init__(network, schedule=schedule, steps=steps, **options)
        good = (
            0 <= cutoff < float("inf")
            and isinstance(reference, int)
            and 1 <= reference < len(self.get_buffer("levels"))
        )
        require("freqpure", good, "cutoff from 0 and reference in 1..T", cutoff=cutoff, reference=reference)
        require("freqpure", self.variance == "posterior", "variance=posterior", variance=self.variance)
        self.cutoff, self.reference = cutoff, reference

    def plan(self, x: Tensor) -> Plan:
        """Return the steps of all runs, whose noise derives from one draw of torch's global generator."""
        seeds = iter(draw_seeds(len(self.schedule) + 2 * sum(self.steps)))
        image = 2 * x - 1  # the state contains the input of the run, so that gradients also reach it directly
        plan, runs = Plan(x, torch.cat([image, image], 1), self.to_image), len(self.schedule)
        for number, (t, steps) in enumerate(zip(self.schedule, self.steps, strict=True)):
            times, first = ladder(t, steps).to(x.device), next(seeds)
            plan.add(partial(self.begin, t=times[0], seed=first))
            for left, (now, then) in zip(reversed(range(steps)), pairwise(times), strict=True):
                mark = Mark(step=left, round=runs - 1 - number, level=self.level(then), seed=first)
                plan.add(partial(self.step, now=now, then=then, seeds=(next(seeds), next(seeds))), mark)
        return plan

    def begin(self, both: Tensor, t: Tensor, seed: int) -> Tensor:
        """Begin a run: the state becomes its input, and is diffused to t*; [N,2C,H,W] → [N,2C,H,W]."""
        state, _ = both.chunk(2, 1)
        return torch.cat([self.diffuse(state, t, seed), state], 1)

    def step(self, both: Tensor, now: Tensor, then: Tensor, seeds: tuple[int, int]) -> Tensor:
        """Take one step; the run's input is unchanged.

        The predicted noise is not derived anew from the mixed image, so that the step is not DDPM's posterior.

        Args:
            both: state and input of the run, concatenated, [N,2C,H,W].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seeds: seeds of the step's noise and of the reference's noise.

        Returns:
            The state at timestep `then` and the input, [N,2C,H,W].
        """
        state, image = both.chunk(2, 1)
        before, after = self.level(now), self.level(then)
        there = torch.tensor(self.reference - 1, device=state.device)
        noisy = self.diffuse(image, there, seeds[1])
        reference = denoise(noisy, self.predict(noisy, there), self.level(there), clip=False)
        predicted = self.predict(state, now)
        origin = mixed(denoise(state, predicted, before, clip=False), reference, self.cutoff)
        variance = posterior_variance(before, after)
        state = after.sqrt() * origin + (1 - after - variance).clamp(min=0).sqrt() * predicted
        return torch.cat([state + variance.sqrt() * seeded_noise(state, seeds[0]), image], 1)
