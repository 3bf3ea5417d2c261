"""DiffPure: add noise up to t*, then run the reverse process from there (Nie et al. 2022, arXiv:2205.07460).

The reverse steps are those of DDPM (Ho et al. 2020, eq. 6-7 between any two timesteps) or DDIM (Song et al. 2021,
arXiv:2010.02502, eq. 12 with eta = 0). Each step is checkpointed and draws its noise from its own seed. The exact
gradient therefore replays the same noise, and only the state of each step is kept in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Unpack

from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.chain import draw_seeds
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.diffusion.purifier import DiffusionPurifier, StepOptions, require_steps, timesteps
from purebench.defenses.diffusion.sampling import ladder
from purebench.defenses.parameters import require

SAMPLERS = ("ddpm", "ddim")


class DiffPure(DiffusionPurifier):
    """Diffusion to t* and back in `steps` steps, with any noise-prediction network eps(x_t, t) on [-1,1].

    With DDIM, only the noise of the forward diffusion is random.

    Args:
        network: the noise-prediction network.
        t: timestep t* in 1..1000 of the network's schedule.
        steps: reverse steps, evenly spaced from t* to the clean image, at most t.
        sampler: `ddpm` or `ddim`.
        **options: `levels`, `checkpointed`, `surrogate`, `clip`, `clamp` and `variance`, see DiffusionPurifier.

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
        **options: Unpack[StepOptions],
    ):
        total, whole = timesteps(options), isinstance(t, int) and isinstance(steps, int)
        if sampler not in SAMPLERS:
            raise PurebenchError(f"diffpure: expected sampler ddpm or ddim, but got {sampler!r}.")
        good = whole and 1 <= t <= total and 1 <= steps <= t
        require("diffpure", good, f"whole t in 1..{total} and steps in 1..t", t=t, steps=steps)
        require_steps("diffpure", steps, options)
        super().__init__(network, t=t, **options)
        self.sampler = sampler
        self.times: Tensor
        self.register_buffer("times", ladder(t, steps), persistent=False)

    def plan(self, x: Tensor) -> Plan:
        """Return the reverse steps from t*, whose noise derives from one draw of torch's global generator."""
        times = self.get_buffer("times")
        first, *seeds = draw_seeds(len(times))
        plan, left = Plan(x, self.diffuse(2 * x - 1, times[0], first), self.to_image), len(seeds)
        floor = self.floor(times)
        for (now, then), seed in zip(pairwise(times), seeds, strict=True):
            left -= 1
            step = partial(self.reverse, now=now, then=then, seed=seed if self.sampler == "ddpm" else None, floor=floor)
            plan.add(step, Mark(step=left, level=self.level(then), seed=first))
        return plan

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> DiffPure:
        """Return DiffPure with the same t* and fewer reverse steps."""
        made = self.duplicate()
        count = max(fewer(len(self.get_buffer("times")) - 1, steps), self.fewest)
        made.times = ladder(self.top + 1, count).to(self.times.device)
        return made


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=4,
    licence="MIT",
    source="Nie et al. 2022, arXiv:2205.07460",
)
def diffpure(
    *,
    weights: str = "fashion-ddpm",
    t: int = 150,
    steps: int = 4,
    sampler: str = "ddpm",
    clip: bool = True,
    clamp: bool = True,
    variance: str = "posterior",
    label: str = "time",
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> DiffPure:
    """Diffuse the image to t*, then denoise it in a few DDPM or DDIM steps: DiffPure (Nie et al. 2022).

    Args:
        weights: a bundled name or a .safetensors file; a folder of diffusers' UNet2DModel; or a checkpoint (.pt, .pth,
            .ckpt, .pkl) of guided-diffusion, score_sde (VP), EDM or DDPM's U-Net, see `network`.
        t: timestep t* in 1..1000.
        steps: reverse steps, at most t.
        sampler: `ddpm` or `ddim`.
        clip: whether the predicted image of every step is clipped to [-1,1].
        clamp: whether the purified image is clamped to [0,1].
        variance: variance of a DDPM step: `posterior`, `beta` (larger), or `learned` by guided-diffusion's network.
        label: `time`, or `index` for the timestep's number, see `network`; they differ for score_sde alone.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: arguments of the network that a checkpoint does not reveal, such as head_width or heads of
            guided-diffusion, and `parametrisation` where its keys leave it open; None for the defaults.
    """
    return DiffPure(
        network(weights, architecture, label=label),
        t=t,
        steps=steps,
        sampler=sampler,
        clip=clip,
        clamp=clamp,
        variance=variance,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
