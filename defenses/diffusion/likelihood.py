"""Likelihood maximisation: the nearby image that the diffusion model likes best (Chen et al. 2023, arXiv:2305.15241).

The log-likelihood's lower bound is, up to weights and a constant, minus the squared error of the predicted noise over
timesteps. Its gradient with respect to the image is climbed with momentum, inside an linf ball around the image, as in
section 3.3 there. Differentiating through a climb is a second derivative of the network, which is taken exactly; the
authors' attacks use it too, or BPDA.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sampling import (
    DiffusionPurifier,
    diffuse,
    draw_seeds,
    gradient_of,
    require,
    run,
    seeded_noise,
)
from purebench.defenses.diffusion.unet import noise_levels


class LikelihoodMaximisation(DiffusionPurifier):
    """Steps of gradient ascent on the diffusion model's lower bound, over any noise-prediction network.

    t: timesteps below it are asked, in 1..1000; draws: of them and of the noise at each step, one from each equal
    share of the timesteps; steps: of the ascent; rate: length of a step as the root mean square over an image's values,
    radius: of the linf ball, both in the units of x; momentum: share of the last direction that is kept.
    signed: step by the direction's sign, as the authors do; its slope is zero almost everywhere, and what the exact
    gradient then sees is the identity but for the box. checkpointed, surrogate: as of DiffPure.
    Raises PurebenchError for other values.
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
        levels: Tensor | None = None,
        checkpointed: bool = True,
        surrogate: str = "identity",
    ):
        levels = noise_levels() if levels is None else levels
        whole = isinstance(t, int) and isinstance(draws, int) and isinstance(steps, int)
        require(
            "likelihood-maximisation",
            whole and 1 <= draws <= t <= len(levels) and steps >= 1,
            f"whole t in 1..{len(levels)}, draws in 1..t and steps from 1",
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
        super().__init__(network, t=t, levels=levels, checkpointed=checkpointed, surrogate=surrogate)
        self.t, self.draws, self.steps = t, draws, steps
        self.rate, self.radius, self.momentum, self.signed = rate, radius, momentum, signed

    def forward(self, x: Tensor) -> Tensor:
        """Purified images in [0,1], no value further than the radius; one draw of all noises and timesteps."""
        steps = [partial(self.step, seed=seed) for seed in draw_seeds(self.steps)]
        # the input and the momentum travel in the state, so that their gradients come back
        return run(torch.cat([x, x, torch.zeros_like(x)], 1), steps, self.checkpointed)[:, : x.shape[1]]

    def step(self, triple: Tensor, seed: int) -> Tensor:
        """One step of ascent from image, input and momentum, [N,3C,H,W]; the seed decides timesteps and noise."""
        x, image, momentum = triple.chunk(3, 1)
        uphill = gradient_of(partial(self.bound, seed=seed), x)
        length = uphill.square().mean((1, 2, 3), keepdim=True).sqrt()
        momentum = self.momentum * momentum + uphill / (length + 1e-12)
        x = x + self.rate * (momentum.sign() if self.signed else momentum)
        x = torch.maximum(torch.minimum(x, image + self.radius), image - self.radius).clamp(0, 1)
        return torch.cat([x, image, momentum], 1)

    def bound(self, x: Tensor, seed: int) -> Tensor:
        """Minus the squared error of the noise over an image's values, mean over the draws, [N]; x in [0,1]."""
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
    """Likelihood maximisation: climb the diffusion model's likelihood inside a ball (Chen et al. 2023).

    weights, architecture: of the network, as `networks.network` reads them.
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
