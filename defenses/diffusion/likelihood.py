"""Likelihood maximisation: search nearby images for a higher likelihood (Chen et al. 2023, arXiv:2305.15241).

Up to weights and a constant, the lower bound of the diffusion model's log-likelihood is minus the squared error of
the predicted noise over timesteps. It is maximised by gradient ascent with momentum inside an linf ball around the
image, as in section 3.3 of the paper. Differentiating through the ascent requires second derivatives of the network,
which are computed exactly; the authors' attacks use them too, or BPDA.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.defense.trace import from_unit, unchanged
from purebench.defenses.diffusion.chain import draw_seeds, gradient_of, seeded_noise
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.diffusion.purifier import DiffusionPurifier, Options, timesteps
from purebench.defenses.diffusion.sampling import diffuse
from purebench.defenses.parameters import require


class LikelihoodMaximisation(DiffusionPurifier):
    """Gradient ascent on the lower bound of the diffusion model's likelihood, with any noise-prediction network.

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        t: the bound uses timesteps below t, in 1..1000.
        draws: draws of timestep and noise at each step; one timestep is drawn from each of `draws` equal intervals.
        steps: steps of the ascent.
        rate: length of a step as the root mean square over an image's values, in the units of x.
        radius: radius of the linf ball, in the units of x.
        momentum: share of the previous direction that is kept.
        signed: whether to step by the sign of the direction, as the authors do. The derivative of the sign is zero
            almost everywhere, so the exact gradient is then the identity, except where the result is clipped.
        **options: `levels`, `checkpointed` and `surrogate`, see DiffusionPurifier.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int = 200,
        draws: int = 2,
        steps: int = 4,
        rate: float = 8 / 255,
        radius: float = 32 / 255,
        momentum: float = 0.5,
        signed: bool = False,
        **options: Unpack[Options],
    ):
        total = timesteps(options)
        whole = isinstance(t, int) and isinstance(draws, int) and isinstance(steps, int)
        require(
            "likelihood-maximisation",
            whole and 1 <= draws <= t <= total and steps >= 1,
            f"whole t in 1..{total}, draws in 1..t and steps from 1",
            t=t,
            draws=draws,
            steps=steps,
        )
        require(
            "likelihood-maximisation",
            0 < rate <= 1 and 0 < radius <= 1 and 0 <= momentum < 1,
            "rate and radius in (0,1] and momentum in [0,1)",
            rate=rate,
            radius=radius,
            momentum=momentum,
        )
        super().__init__(network, t=t, **options)
        self.t, self.draws, self.steps = t, draws, steps
        self.rate, self.radius, self.momentum, self.signed = rate, radius, momentum, signed

    def plan(self, x: Tensor) -> Plan:
        """Return the steps of the ascent; noise and timesteps are drawn once."""
        # the state contains the input and the momentum, so that gradients flow through them too
        plan = Plan(x, torch.cat([x, x, torch.zeros_like(x)], 1), to_image=from_unit, earlier_image=unchanged)
        for left, seed in zip(reversed(range(self.steps)), draw_seeds(self.steps), strict=True):
            plan.add(partial(self.step, seed=seed), Mark(step=left))
        return plan

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> LikelihoodMaximisation:
        """Return the ascent with fewer steps, which are proportionally longer, up to a length of 1."""
        made = self.duplicate()
        made.steps = fewer(self.steps, steps)
        made.rate = min(1.0, self.rate * self.steps / made.steps)
        return made

    def noised(self, x: Tensor) -> Tensor:
        """Raise Inapplicable: the image itself gets no noise."""
        return Purifier.noised(self, x)

    def step(self, triple: Tensor, seed: int) -> Tensor:
        """Take one step of the ascent.

        Args:
            triple: image, input and momentum, concatenated, [N,3C,H,W].
            seed: seed of timesteps and noise.

        Returns:
            The updated image, the input and the updated momentum, [N,3C,H,W].
        """
        x, image, momentum = triple.chunk(3, 1)
        uphill = gradient_of(partial(self.bound, seed=seed), x)
        length = uphill.square().mean((1, 2, 3), keepdim=True).sqrt()
        momentum = self.momentum * momentum + uphill / (length + 1e-12)
        x = x + self.rate * (momentum.sign() if self.signed else momentum)
        x = torch.maximum(torch.minimum(x, image + self.radius), image - self.radius).clamp(0, 1)
        return torch.cat([x, image, momentum], 1)

    def bound(self, x: Tensor, seed: int) -> Tensor:
        """Return minus the squared error of the predicted noise, summed over an image's values, mean over the draws.

        Args:
            x: images [N,C,H,W] in [0,1].
            seed: seed of timesteps and noise.

        Returns:
            The bound of each image, [N].
        """
        generator = torch.Generator().manual_seed(seed)
        shares = torch.rand(self.draws, generator=generator)
        times = ((torch.arange(self.draws) + shares) * self.t / self.draws).long().clamp(max=self.t - 1)
        seeds = torch.randint(2**62, (self.draws,), generator=generator).tolist()
        errors = []
        for t, noise_seed in zip(times.to(x.device), seeds, strict=True):
            noise = seeded_noise(x, noise_seed)
            predicted = self.predict(diffuse(2 * x - 1, self.level(t), noise), t)
            errors.append((predicted - noise).square().sum((1, 2, 3)))
        return -torch.stack(errors).mean(0)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=8,
    licence="MIT",
    source="Chen et al. 2023, arXiv:2305.15241",
)
def likelihood_maximisation(
    *,
    weights: str = "fashion-ddpm",
    t: int = 200,
    draws: int = 2,
    steps: int = 4,
    rate: float = 8 / 255,
    radius: float = 32 / 255,
    momentum: float = 0.5,
    signed: bool = False,
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> LikelihoodMaximisation:
    """Maximise the diffusion model's likelihood inside an linf ball around the image (Chen et al. 2023).

    Args:
        weights: a bundled name or a .safetensors file; a folder of diffusers' UNet2DModel; or a checkpoint (.pt, .pth,
            .ckpt, .pkl) of guided-diffusion, score_sde (VP), EDM or DDPM's U-Net, see `network`.
        t: the bound uses timesteps below t, in 1..1000.
        draws: draws of timestep and noise at each step.
        steps: steps of the ascent.
        rate: length of a step as the root mean square over an image's values, in the units of x.
        radius: radius of the linf ball, in the units of x.
        momentum: share of the previous direction that is kept.
        signed: whether to step by the sign of the direction, as the authors do.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: arguments of the network that a checkpoint does not reveal, such as head_width or heads of
            guided-diffusion, and `parametrisation` where its keys leave it open; None for the defaults.
    """
    return LikelihoodMaximisation(
        network(weights, architecture),
        t=t,
        draws=draws,
        steps=steps,
        rate=rate,
        radius=radius,
        momentum=momentum,
        signed=signed,
        checkpointed=checkpointed,
        surrogate=surrogate,
    )
