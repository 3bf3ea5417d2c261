"""GDMP: purification guided by the distance to the noised input (Wang et al. 2022, arXiv:2205.14969).

The mean of each DDPM step is shifted towards the input at the same noise level, by the gradient of their squared
distance. The guidance grows with the noise: s_t = 3·sqrt(1 - alpha-bar_t) / (gamma·sqrt(alpha-bar_t)), where gamma is
the size of the perturbation to be removed, in the units of [-1,1]. The procedure is repeated M times; each round adds
noise to the result of the previous one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.defenses.diffusion.chain import draw_seeds
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.diffusion.purifier import DiffusionPurifier, StepOptions, require_steps, timesteps
from purebench.defenses.diffusion.sampling import ladder, respaced
from purebench.defenses.parameters import require

GUIDES = ("noised", "input")


class GDMP(DiffusionPurifier):
    """M rounds of diffusion to t* and guided DDPM steps back, with any noise-prediction network.

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        t: timestep t* in 1..1000, or in 1..kept of the timesteps that are kept.
        steps: reverse steps of a round, evenly spaced, at most t.
        rounds: number of rounds M.
        eps: size of the expected perturbation, in the units of x.
        scale: scale of the guidance, the factor `a` of s_t on the squared distance summed over an image's values (0: no
            guidance). The authors' 60,000 on the mean over a batch of 100 CIFAR-10 images corresponds to 0.2.
        kept: number of timesteps that the schedule is respaced to (see `respaced`); None for all.
        start: timestep of the noise of a round, counted like t; None for t. In the authors' code for CIFAR-10 it is
            t + 1, although the first reverse step begins at t.
        guide: what the state is drawn to, the `noised` input or, as in the authors' code for ImageNet, the `input`.
        **options: `levels`, `checkpointed`, `surrogate`, `clip`, `clamp` and `variance`, see DiffusionPurifier.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int = 100,
        steps: int = 4,
        rounds: int = 2,
        eps: float = 16 / 255,
        scale: float = 0.2,
        kept: int | None = None,
        start: int | None = None,
        guide: str = "noised",
        **options: Unpack[StepOptions],
    ):
        total = timesteps(options)
        count = total if kept is None else kept
        start = t if start is None else start
        whole = all(isinstance(number, int) for number in (t, steps, rounds, count, start)) and 2 <= count <= total
        require(
            "gdmp",
            whole and 1 <= t <= count and 1 <= steps <= t and rounds >= 1 and t <= start <= count,
            f"whole t in 1..{count}, steps in 1..t and rounds from 1, kept in 2..{total} and start from t",
            t=t,
            steps=steps,
            rounds=rounds,
            kept=kept,
            start=start,
        )
        good = 0 < eps <= 1 and 0 <= scale < float("inf")
        require("gdmp", good, "eps in (0,1] and scale from 0", eps=eps, scale=scale)
        require("gdmp", guide in GUIDES, f"guide {' or '.join(GUIDES)}", guide=guide)
        require_steps("gdmp", steps, options)
        every = torch.cat([respaced(count, total), torch.tensor([-1])])  # the last one, at place -1, is the clean image
        super().__init__(network, t=int(every[t - 1]) + 1, **options)
        self.t, self.rounds, self.eps, self.scale, self.guide = t, rounds, eps, scale, guide
        self.every: Tensor
        self.times: Tensor
        self.register_buffer("every", every, persistent=False)
        self.register_buffer("times", every[ladder(t, steps)], persistent=False)
        self.start = int(every[start - 1])

    def plan(self, x: Tensor) -> Plan:
        """Return the steps of all rounds, whose noise derives from one draw of torch's global generator."""
        times = self.get_buffer("times")
        seeds = iter(draw_seeds(self.rounds * (2 * len(times) - 1)))
        image = 2 * x - 1  # the state contains the input, so that gradients also reach the input directly
        plan, floor = Plan(x, torch.cat([image, image], 1), self.to_image), self.floor(times)
        for left in reversed(range(self.rounds)):
            first = next(seeds)
            plan.add(partial(self.noise, seed=first))
            for number, (now, then) in enumerate(pairwise(times)):
                mark = Mark(step=len(times) - 2 - number, round=left, level=self.level(then), seed=first)
                seeds_here = next(seeds), next(seeds)
                plan.add(partial(self.step, now=now, then=then, seeds=seeds_here, floor=floor), mark)
        return plan

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> GDMP:
        """Return GDMP with the same t* and fewer reverse steps a round; `rounds` is the largest number of rounds.

        By default all rounds are kept.
        """
        made = self.duplicate()
        count = max(fewer(len(self.get_buffer("times")) - 1, steps), self.fewest)
        made.times = self.every[ladder(self.t, count).to(self.every.device)]
        made.rounds = self.rounds if rounds is None else min(self.rounds, rounds)
        return made

    def noise(self, both: Tensor, seed: int) -> Tensor:
        """Diffuse the clean state at the start of a round; the input is unchanged.

        Args:
            both: state and input, concatenated, [N,2C,H,W].
            seed: seed of the noise.

        Returns:
            The noised state and the input, [N,2C,H,W].
        """
        state, image = both.chunk(2, 1)
        return torch.cat([self.diffuse(state, self.start, seed), image], 1)

    def step(
        self, both: Tensor, now: Tensor, then: Tensor, seeds: tuple[int, int], floor: Tensor | None = None
    ) -> Tensor:
        """Take one guided DDPM step; the input is unchanged.

        Args:
            both: state and input, concatenated, [N,2C,H,W].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seeds: seeds of the step's noise and of the input's noise.
            floor: smallest variance of a step, see DiffusionPurifier.reverse.

        Returns:
            The state at timestep `then` and the input, [N,2C,H,W].
        """
        state, image = both.chunk(2, 1)
        there = self.diffuse(image, now, seeds[1]) if self.guide == "noised" else image
        guidance = -self.strength(self.level(now)) * 2 * (state - there)
        return torch.cat([self.reverse(state, now, then, seeds[0], guidance, floor), image], 1)

    def strength(self, level: Tensor) -> Tensor:
        """Return s_t times the scale, at an alpha-bar value."""
        return self.scale * 3 * (1 - level).sqrt() / (2 * self.eps * level.sqrt())


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=8,
    licence="MIT",
    source="Wang et al. 2022, arXiv:2205.14969",
)
def gdmp(
    *,
    weights: str = "fashion-ddpm",
    t: int = 100,
    steps: int = 4,
    rounds: int = 2,
    eps: float = 16 / 255,
    scale: float = 0.2,
    kept: int | None = None,
    start: int | None = None,
    guide: str = "noised",
    clip: bool = True,
    clamp: bool = True,
    variance: str = "posterior",
    label: str = "time",
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> GDMP:
    """Diffuse and denoise in rounds, guided by the distance to the noised input: GDMP (Wang et al. 2022).

    Args:
        weights: a bundled name or a .safetensors file; a folder of diffusers' UNet2DModel; or a checkpoint (.pt, .pth,
            .ckpt, .pkl) of guided-diffusion, score_sde (VP), EDM or DDPM's U-Net, see `network`.
        t: timestep t* in 1..1000.
        steps: reverse steps of a round, at most t.
        rounds: number of rounds.
        eps: size of the expected perturbation, in the units of x.
        scale: factor of the guidance on the squared distance to the noised input, summed over an image's values; 0 for
            no guidance. The authors' 60,000 on the mean over a batch of 100 CIFAR-10 images corresponds to 0.2.
        kept: number of timesteps that the schedule is respaced to; t and steps count these; None for all.
        start: timestep of the noise of a round, from t; None for t.
        guide: what the state is drawn to, the `noised` input or the `input` itself.
        clip: whether the predicted image of every step is clipped to [-1,1].
        clamp: whether the purified image is clamped to [0,1].
        variance: variance of a DDPM step: `posterior`, `beta` (larger), or `learned` by guided-diffusion's network.
        label: `time`, or `index` for the timestep's number, see `network`; they differ for score_sde alone.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: arguments of the network that a checkpoint does not reveal, such as head_width or heads of
            guided-diffusion, and `parametrisation` where its keys leave it open; None for the defaults.
    """
    return GDMP(
        network(weights, architecture, label=label),
        t=t,
        steps=steps,
        rounds=rounds,
        eps=eps,
        scale=scale,
        kept=kept,
        start=start,
        guide=guide,
        clip=clip,
        clamp=clamp,
        variance=variance,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
