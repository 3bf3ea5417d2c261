"""Likelihood maximisation over EDM by Adam (Chen et al., arXiv:2305.15241, the later version and its released code).

The image z in [-1,1] descends the denoising error ||D(z + sigma n; sigma) - z||² of an EDM network, one noise level and
one noise a step. The first version of the paper, with all timesteps and momentum steps inside a ball, is
`likelihood-maximisation`. Differentiating through Adam requires second derivatives of the network, which are computed
exactly; the release differentiates the identity instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from purebench.core.defense import Purifier, State
from purebench.core.defense.trace import from_signed
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.chain import draw_seeds, gradient_of, seeded_noise
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.parameters import require

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8
"""Adam's decay rates of the two moments, and what is added to the root of the second."""
TINY = 1e-32
"""Added to the second moment before its root, whose derivative is infinite at zero."""


class LikelihoodAdam(Purifier):
    """Steps of Adam towards a smaller denoising error of EDM's network, clamped to [0,1] at the end.

    The release takes the mean error over the batch. Here each image has its own mean, so that images of a batch do not
    influence each other; Adam's steps do not depend on the scale of the error, apart from epsilon.

    Args:
        network: EDM's network.
        steps: number of steps.
        rate: Adam's learning rate, in the units of [-1,1].
        sigmas: smallest and largest noise level, in the units of [-1,1]; each step draws one uniformly for each image.
        seed: seed of all noise, as in the release, where it is 1: the purifier is then deterministic. None draws fresh
            noise at each call.
        checkpointed: whether to recompute each step in the backward pass.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: EDM,
        *,
        steps: int = 5,
        rate: float = 0.1,
        sigmas: Sequence[float] = (0.4, 0.6),
        seed: int | None = None,
        checkpointed: bool = True,
    ):
        super().__init__()
        name, whole = "likelihood-maximisation/iclr", isinstance(steps, int) and steps >= 1
        require(name, whole and 0 < rate <= 1, "whole steps from 1 and rate in (0,1]", steps=steps, rate=rate)
        good = len(sigmas) == 2 and 0 < sigmas[0] <= sigmas[1] < float("inf")
        require(name, good, "two rising noise levels above 0", sigmas=list(sigmas))
        self.network, self.steps, self.rate, self.sigmas = network, steps, rate, (sigmas[0], sigmas[1])
        self.seed, self.checkpointed, self.random = seed, checkpointed, seed is None

    def plan(self, x: Tensor) -> Plan:
        """Return the steps; noise and noise levels are drawn once."""
        image = 2 * x - 1
        # the state contains the moments, so that gradients flow through them too
        plan = Plan(x, torch.cat([image, torch.zeros_like(image), torch.zeros_like(image)], 1), from_signed)
        if self.seed is None:
            seeds = draw_seeds(self.steps)
        else:
            seeds = torch.randint(2**62, (self.steps,), generator=torch.Generator().manual_seed(self.seed)).tolist()
        for number, seed in enumerate(seeds, 1):
            plan.add(partial(self.step, number=number, seed=seed), Mark(step=self.steps - number))
        return plan

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images in [0,1]."""
        return self.plan(x).result(self.checkpointed)

    def trace(self, x: Tensor) -> Sequence[State]:
        """Return the state after each step, with the same noise as `forward`."""
        return self.plan(x).states(self.checkpointed)

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> LikelihoodAdam:
        """Return fewer steps, which are proportionally longer, up to a length of 1."""
        made = self.duplicate()
        made.steps = fewer(self.steps, steps)
        made.rate = min(1.0, self.rate * self.steps / made.steps)
        return made

    def step(self, triple: Tensor, number: int, seed: int) -> Tensor:
        """Take one step of Adam.

        Args:
            triple: image in [-1,1] and the two moments, concatenated, [N,3C,H,W].
            number: number of the step, from 1.
            seed: seed of noise and noise levels.

        Returns:
            The updated image and moments, [N,3C,H,W].
        """
        z, mean, square = triple.chunk(3, 1)
        slope = gradient_of(partial(self.error, seed=seed), z)
        mean = FIRST * mean + (1 - FIRST) * slope
        square = SECOND * square + (1 - SECOND) * slope**2
        root = (square / (1 - SECOND**number) + TINY).sqrt()
        z = z - self.rate * mean / (1 - FIRST**number) / (root + EPSILON)
        return torch.cat([z, mean, square], 1)

    def error(self, z: Tensor, seed: int) -> Tensor:
        """Return the mean squared denoising error of each image, [N].

        Args:
            z: images [N,C,H,W] in [-1,1].
            seed: seed of noise and noise levels.
        """
        low, high = self.sigmas
        share = torch.rand(len(z), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        sigma = (low + (high - low) * share).to(z)
        noised = z + sigma.view(-1, 1, 1, 1) * seeded_noise(z, seed)
        return (self.network.denoise(noised, sigma) - z).square().mean((1, 2, 3))
