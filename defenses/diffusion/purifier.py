"""The base of the diffusion purifiers: the network, its noise levels, noising, the reverse step, and the surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier, State
from purebench.core.defense.trace import from_signed
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.plan import Plan
from purebench.defenses.diffusion.sampling import denoise, diffuse, noise_levels, reverse_step

SURROGATES = ("identity", "denoiser")


class Options(TypedDict, total=False):
    """Options that all purifiers of discrete timesteps share, described at DiffusionPurifier."""

    levels: Tensor | None
    checkpointed: bool
    surrogate: str


def timesteps(options: Options) -> int:
    """Return the number of timesteps T of the network."""
    levels = options.get("levels")
    return len(noise_levels() if levels is None else levels)


class DiffusionPurifier(Purifier):
    """Purifier with a noise-prediction network eps(x_t, t) on [-1,1], with timesteps [N] counted from 0.

    Args:
        network: the noise-prediction network.
        t: timestep t* in 1..T, whose noise the surrogate removes.
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates: `identity`, or `denoiser`, which adds noise up to t* and
            takes one step back, with its own noise.

    Raises:
        PurebenchError: If a value is out of range.
    """

    random = True

    def __init__(
        self,
        network: nn.Module,
        *,
        t: int,
        levels: Tensor | None = None,
        checkpointed: bool = True,
        surrogate: str = "identity",
    ):
        super().__init__()
        levels = noise_levels() if levels is None else levels
        if surrogate not in SURROGATES:
            raise PurebenchError(f"surrogate: expected {' or '.join(SURROGATES)}, but got {surrogate!r}.")
        if not (isinstance(t, int) and 1 <= t <= len(levels)):
            raise PurebenchError(f"t: expected a whole number in 1..{len(levels)}, but got {t!r}.")
        self.network, self.checkpointed, self.stand_in, self.top = network, checkpointed, surrogate, t - 1
        self.register_buffer("levels", torch.cat([levels, torch.ones(1)]), persistent=False)

    def plan(self, x: Tensor) -> Plan:
        """Return the steps of one purification; all noise derives from one draw of torch's global generator.

        A subclass that defines `forward` itself may leave it out; it then has no intermediate states.

        Args:
            x: images [N,C,H,W] in [0,1].

        Raises:
            Inapplicable: If the purifier has no plan.
        """
        raise Inapplicable("its purifier offers no intermediate states")

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images in [0,1]."""
        return self.plan(x).result(self.checkpointed)

    def trace(self, x: Tensor) -> Sequence[State]:
        """Return the state after each reverse step, with the same noise as `forward`."""
        return self.plan(x).states(self.checkpointed)

    def noised(self, x: Tensor) -> Tensor:
        """Return the images with the noise of t*, clamped to [0,1]."""
        (seed,) = draw_seeds(1)
        return from_signed(self.diffuse(2 * x - 1, self.top, seed))

    def level(self, t: Tensor | int) -> Tensor:
        """Return alpha-bar at a timestep, a scalar; timestep -1 is the clean image, with alpha-bar 1."""
        level: Tensor = self.get_buffer("levels")[t]
        return level

    def predict(self, state: Tensor, t: Tensor) -> Tensor:
        """Predict the noise of a state.

        Args:
            state: noisy images [N,C,H,W], scaled to [-1,1].
            t: timestep, a scalar tensor.

        Returns:
            The predicted noise [N,C,H,W].
        """
        predicted: Tensor = self.network(state, t.expand(len(state)))
        return predicted

    def diffuse(self, image: Tensor, t: Tensor | int, seed: int) -> Tensor:
        """Draw the noisy state of an image at a timestep.

        Args:
            image: images [N,C,H,W] without noise, in [-1,1].
            t: timestep, a scalar.
            seed: seed of the noise.

        Returns:
            Noised images [N,C,H,W].
        """
        return diffuse(image, self.level(t), seeded_noise(image, seed))

    def reverse(
        self, state: Tensor, now: Tensor, then: Tensor, seed: int | None, guidance: Tensor | None = None
    ) -> Tensor:
        """Take one reverse step between two timesteps.

        Args:
            state: images [N,C,H,W] at timestep `now`, scaled to [-1,1].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seed: seed of the noise of a DDPM step; None for a DDIM step.
            guidance: a gradient like the state for a DDPM step, whose mean is shifted by the variance times this
                gradient; None for no guidance.

        Returns:
            Images [N,C,H,W] at timestep `then`.
        """
        predicted = self.predict(state, now)
        noise = None if seed is None else seeded_noise(state, seed)
        return reverse_step(state, predicted, self.level(now), self.level(then), noise, guidance)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return x, or the posterior mean of the image given a draw of it at t*, in [0,1]."""
        if self.stand_in == "identity":
            return x
        (seed,) = draw_seeds(1)
        state = self.diffuse(2 * x - 1, self.top, seed)
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, self.level(self.top)) + 1) / 2
