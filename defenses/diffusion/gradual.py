"""Gradual noise scheduling: several purification runs with increasing noise (Lee & Kim 2023, arXiv:2303.09051).

The first runs add little noise, which is enough to remove a small perturbation. Only the later runs add noise that
also changes the image. The default schedule has the shape of the paper's for CIFAR-10: four runs with a low t*, two
with a middle one, two with a high one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Unpack

from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.defenses.diffusion.chain import draw_seeds
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.diffusion.purifier import DiffusionPurifier, StepOptions, require_steps, timesteps
from purebench.defenses.diffusion.sampling import ladder
from purebench.defenses.parameters import require

SCHEDULE = (30, 30, 30, 30, 50, 50, 125, 125)


class GradualNoise(DiffusionPurifier):
    """Diffusion to each t* of a schedule and back, run by run, with any noise-prediction network.

    By default the state is clipped to [-1,1] between runs, like the prediction of every step. The authors' release
    clips neither (`clip=False, clamp=False`).

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        schedule: timesteps t* in 1..1000 of the runs, none smaller than the one before.
        steps: DDPM steps of a run, evenly spaced, at most its t*; one number for all runs, or one for each.
        **options: `levels`, `checkpointed`, `surrogate` (with the last t*), `clip`, `clamp` and `variance`, see
            DiffusionPurifier.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        schedule: Sequence[int] = SCHEDULE,
        steps: int | Sequence[int] = 1,
        **options: Unpack[StepOptions],
    ):
        total = timesteps(options)
        whole = len(schedule) > 0 and all(isinstance(t, int) and 1 <= t <= total for t in schedule)
        rising = whole and list(schedule) == sorted(schedule)
        each = [steps] * len(schedule) if isinstance(steps, int) else list(steps)
        good = len(each) == len(schedule) and all(
            isinstance(count, int) and 1 <= count <= t for count, t in zip(each, schedule, strict=True)
        )
        require(
            "gradual-noise",
            rising and good,
            f"a rising schedule of whole t in 1..{total} and whole steps in 1..its first, or in 1..t for each t",
            schedule=list(schedule),
            steps=steps,
        )
        require_steps("gradual-noise", min(each), options)
        super().__init__(network, t=schedule[-1], **options)
        self.schedule, self.steps = tuple(schedule), tuple(each)

    def plan(self, x: Tensor) -> Plan:
        """Return the steps of all runs, whose noise derives from one draw of torch's global generator."""
        seeds = iter(draw_seeds(len(self.schedule) + sum(self.steps)))
        plan, runs = Plan(x, 2 * x - 1, self.to_image), len(self.schedule)
        for number, (t, steps) in enumerate(zip(self.schedule, self.steps, strict=True)):
            times, first = ladder(t, steps).to(x.device), next(seeds)
            floor = self.floor(times)
            plan.add(partial(self.diffuse, t=times[0], seed=first))
            for left, (now, then) in zip(reversed(range(steps)), pairwise(times), strict=True):
                mark = Mark(step=left, round=runs - 1 - number, level=self.level(then), seed=first)
                plan.add(partial(self.reverse, now=now, then=then, seed=next(seeds), floor=floor), mark)
        return plan

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> GradualNoise:
        """Return fewer runs, evenly chosen from the schedule, with fewer steps in each; by default half of both.

        Three runs of the default schedule are those of the surrogate of Lee & Kim: 30, 50 and 125.

        Args:
            steps: largest number of steps of a run; None for half of the steps, at least one.
            rounds: largest number of runs; None for half of the runs. The last one is always kept.
        """
        made, own = self.duplicate(), len(self.schedule)
        runs = fewer(own, rounds)
        kept = [(number + 1) * own // runs - 1 for number in range(runs)]
        made.schedule = tuple(self.schedule[one] for one in kept)
        made.steps = tuple(max(fewer(self.steps[one], steps), self.fewest) for one in kept)
        return made


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=8,
    licence="MIT",
    source="Lee & Kim 2023, arXiv:2303.09051",
)
def gradual_noise(
    *,
    weights: str = "fashion-ddpm",
    schedule: Sequence[int] = SCHEDULE,
    steps: int | Sequence[int] = 1,
    clip: bool = True,
    clamp: bool = True,
    variance: str = "posterior",
    label: str = "time",
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> GradualNoise:
    """Purify in several short runs with increasing t*: gradual noise scheduling (Lee & Kim 2023).

    Args:
        weights: a bundled name or a .safetensors file; a folder of diffusers' UNet2DModel; or a checkpoint (.pt, .pth,
            .ckpt, .pkl) of guided-diffusion, score_sde (VP), EDM or DDPM's U-Net, see `network`.
        schedule: timesteps t* of the runs, none smaller than the one before.
        steps: DDPM steps of a run, at most its t*; one number for all runs, or a list with one for each.
        clip: whether the predicted image of every step is clipped to [-1,1].
        clamp: whether the purified image is clamped to [0,1].
        variance: variance of a DDPM step: `posterior`, `beta` (larger), or `learned` by guided-diffusion's network.
        label: `time`, or `index` for the timestep's number, see `network`; they differ for score_sde alone.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: arguments of the network that a checkpoint does not reveal, such as head_width or heads of
            guided-diffusion, and `parametrisation` where its keys leave it open; None for the defaults.
    """
    return GradualNoise(
        network(weights, architecture, label=label),
        schedule=schedule,
        steps=steps,
        clip=clip,
        clamp=clamp,
        variance=variance,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
