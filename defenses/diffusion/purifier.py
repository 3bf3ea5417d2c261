"""The base of the diffusion purifiers: the network, its noise levels, noising, the reverse step, and the surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier, State
from purebench.core.defense.trace import from_signed, unclamped_from_signed
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.plan import Plan
from purebench.defenses.diffusion.sampling import denoise, diffuse, noise_levels, posterior_variance, reverse_step
from purebench.defenses.parameters import require

SURROGATES = ("identity", "denoiser")
VARIANCES = ("posterior", "beta", "learned")


class Options(TypedDict, total=False):
    """Options that all purifiers of discrete timesteps share, described at DiffusionPurifier."""

    levels: Tensor | None
    checkpointed: bool
    surrogate: str


class StepOptions(Options, total=False):
    """Options of the purifiers that take reverse steps of DDPM or DDIM, described at DiffusionPurifier."""

    clip: bool
    clamp: bool
    variance: str


def timesteps(options: Options) -> int:
    """Return the number of timesteps T of the network."""
    levels = options.get("levels")
    return len(noise_levels() if levels is None else levels)


def require_steps(name: str, steps: int, options: StepOptions) -> None:
    """Raise PurebenchError if a variance other than the posterior's is given for a single step.

    The last step has the variance of the step before it.

    Args:
        name: name of the defense, for the error message.
        steps: smallest number of steps of a round.
        options: the options of the defense.
    """
    enough = steps >= 2 or options.get("variance", "posterior") == "posterior"
    require(name, enough, "at least 2 steps for a variance other than the posterior's", steps=steps)


class DiffusionPurifier(Purifier):
    """Purifier with a noise-prediction network eps(x_t, t) on [-1,1], with timesteps [N] counted from 0.

    Args:
        network: the noise-prediction network.
        t: timestep t* in 1..T, whose noise the surrogate removes.
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates: `identity`, or `denoiser`, which adds noise up to t* and
            takes one step back, with its own noise.
        clip: whether the predicted image of every step is clipped to [-1,1].
        clamp: whether the purified image is clamped to [0,1]. Releases that give the classifier the image as it is have
            `clamp=False`; where the image is outside, the clamp's gradient is zero.
        variance: the variance of a step of DDPM: `posterior`, that of eq. 7 of Ho et al. 2020; `beta`, the larger one
            (`fixedlarge` of Ho's code); or `learned` by the network (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15).

    Raises:
        PurebenchError: If a value is out of range, or the network has not learned the variance.
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
        clip: bool = True,
        clamp: bool = True,
        variance: str = "posterior",
    ):
        super().__init__()
        levels = noise_levels() if levels is None else levels
        if surrogate not in SURROGATES:
            raise PurebenchError(f"surrogate: expected {' or '.join(SURROGATES)}, but got {surrogate!r}.")
        if not (isinstance(t, int) and 1 <= t <= len(levels)):
            raise PurebenchError(f"t: expected a whole number in 1..{len(levels)}, but got {t!r}.")
        if variance not in VARIANCES:
            raise PurebenchError(f"variance: expected {', '.join(VARIANCES)}, but got {variance!r}.")
        if variance == "learned" and not (isinstance(network, GuidedUNet) and network.learned_variance):
            raise PurebenchError(
                "variance: expected a network of guided-diffusion with twice as many outputs as channels for "
                "variance=learned, but got one without; name another network or variance=beta."
            )
        self.network, self.checkpointed, self.stand_in, self.top = network, checkpointed, surrogate, t - 1
        self.clip, self.clamp, self.variance = clip, clamp, variance
        self.to_image = from_signed if clamp else unclamped_from_signed
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
        self,
        state: Tensor,
        now: Tensor,
        then: Tensor,
        seed: int | None,
        guidance: Tensor | None = None,
        floor: Tensor | None = None,
    ) -> Tensor:
        """Take one reverse step between two timesteps.

        Args:
            state: images [N,C,H,W] at timestep `now`, scaled to [-1,1].
            now: timestep of the state, a scalar tensor.
            then: timestep after the step, a scalar tensor; -1 is the clean image.
            seed: seed of the noise of a DDPM step; None for a DDIM step.
            guidance: a gradient like the state for a DDPM step, whose mean is shifted by the variance times this
                gradient; None for no guidance.
            floor: smallest variance of a step, a scalar, see `floor`; needed unless `variance` is `posterior`.

        Returns:
            Images [N,C,H,W] at timestep `then`.
        """
        noise = None if seed is None else seeded_noise(state, seed)
        before, after, fraction = self.level(now), self.level(then), None
        if self.variance == "learned":
            assert isinstance(self.network, GuidedUNet)
            predicted, fraction = self.network.both(state, now.expand(len(state)))
        else:
            predicted = self.predict(state, now)
        variance = None if floor is None else self.step_variance(before, after, floor, fraction)
        return reverse_step(state, predicted, before, after, noise, guidance, clip=self.clip, variance=variance)

    def step_variance(self, now: Tensor, then: Tensor, floor: Tensor, fraction: Tensor | None) -> Tensor:
        """Return the variance of a step, a scalar or [N,C,H,W].

        Args:
            now: alpha-bar of the state, a scalar.
            then: alpha-bar after the step, a scalar.
            floor: smallest variance of a step, a scalar.
            fraction: the network's place of the logarithm between the posterior variance (0) and beta (1), [N,C,H,W].
        """
        small, large = torch.maximum(posterior_variance(now, then), floor), 1 - now / then
        if fraction is None:
            return torch.where(then < 1, large, floor)  # as in Ho's code, the last step has the variance of the floor
        return (fraction * large.log() + (1 - fraction) * small.log()).exp()

    @property
    def fewest(self) -> int:
        """The smallest number of steps of a round."""
        return 1 if self.variance == "posterior" else 2

    def floor(self, times: Tensor) -> Tensor | None:
        """Return the posterior variance of the last step but one, which replaces that of the last step, zero.

        Args:
            times: timesteps of the reverse steps, falling to -1, at least three.

        Returns:
            A scalar; None where `variance` is `posterior`.
        """
        return (
            None if self.variance == "posterior" else posterior_variance(self.level(times[-3]), self.level(times[-2]))
        )

    def surrogate(self, x: Tensor) -> Tensor:
        """Return x, or the posterior mean of the image given a draw of it at t*, in [0,1]."""
        if self.stand_in == "identity":
            return x
        (seed,) = draw_seeds(1)
        state = self.diffuse(2 * x - 1, self.top, seed)
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, self.level(self.top)) + 1) / 2
