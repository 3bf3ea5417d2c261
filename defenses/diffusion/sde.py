"""DiffPure in continuous time: the reverse VP-SDE by Euler-Maruyama (Nie et al. 2022, arXiv:2205.07460, eq. 5-6).

The forward SDE is dx = -(1/2) beta(t) x dt + sqrt(beta(t)) dw (Song et al. 2021, arXiv:2011.13456, eq. 11), with beta
linear on [0,1]. The reverse steps are taken in the SDE's own clock, the integral of beta, in which its diffusion is
constant: x + (x/2 + score)·d + sqrt(d)·noise, where d is the integral over the step. To first order this is a step of
beta(t)·dt. The last step has no noise and removes exactly the noise that is left.

The authors' release differs, see `Rules` and RELEASED.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.core.defense.trace import from_signed
from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.diffusion.purifier import DiffusionPurifier
from purebench.defenses.diffusion.sde_rules import OURS, TIMESTEPS, Rules
from purebench.defenses.parameters import require

GRADIENTS = ("exact", "adjoint")


def euler_maruyama(x: Tensor, score: Tensor, width: float, noise: Tensor | None) -> Tensor:
    """Take one reverse step.

    Args:
        x: the state [N,C,H,W].
        score: the score at the state, like x.
        width: beta·dt, or its integral over the step.
        noise: standard normal noise like x, or None for the mean.

    Returns:
        The next state [N,C,H,W].
    """
    mean = x + (x / 2 + score) * width
    return mean if noise is None else mean + math.sqrt(width) * noise


class Adjoint(torch.autograd.Function):
    """Reverse steps whose backward pass keeps only the last state (adjoint SDE; Li et al. 2020, arXiv:2001.01328).

    Each state is reconstructed from the one after it, with the same noise, by the drift at the later state in place of
    the drift at the state itself. This is correct only in the limit of short steps: the error of the gradient is of
    first order in the length of the steps. It is provided for comparison with the exact gradient, which has no such
    error.
    """

    @staticmethod
    def forward(context: Any, state: Tensor, purifier: DiffPureSDE, walk: Sequence[tuple[float, float, int]]) -> Tensor:
        """Return the state after all steps."""
        for now, then, seed in walk:
            state = purifier.step(state, now, then, seed)
        context.purifier, context.walk = purifier, walk
        context.save_for_backward(state)
        return state

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the adjoint at the state before all steps."""
        (adjoint,), (state,) = gradients, context.saved_tensors
        purifier = context.purifier
        for now, then, seed in reversed(context.walk):
            width = purifier.width(now, then)
            noise = purifier.noise(state, then, seed)
            before = state - purifier.drift(state, now) * width
            if noise is not None:
                before = before - math.sqrt(width) * noise
            leaf = before.detach().requires_grad_()
            with torch.enable_grad():
                drift = purifier.drift(leaf, now)
            (slope,) = torch.autograd.grad(drift, leaf, adjoint)
            adjoint, state = adjoint + width * slope, before.detach()
        return adjoint, None, None


class DiffPureSDE(DiffusionPurifier):
    """Diffusion to time t* and the reverse VP-SDE back to 0, with any noise-prediction network eps(x_t, t) on [-1,1].

    The network is evaluated at timesteps 1000·t - 1, which need not be integers, unless `rules` says otherwise.

    Args:
        network: the noise-prediction network.
        t: time t* in [0.001,1].
        steps: number of evenly spaced time steps.
        first: beta at time 0, a thousand times that of DDPM.
        last: beta at time 1, a thousand times that of DDPM.
        gradient: `exact`, or `adjoint` for comparison.
        checkpointed: whether the exact gradient recomputes each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        clamp: whether the purified image is clamped to [0,1].
        rules: the rules of the steps, ours by default.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        t: float = 0.15,
        steps: int = 10,
        first: float = 0.1,
        last: float = 20.0,
        gradient: str = "exact",
        checkpointed: bool = True,
        surrogate: str = "identity",
        clamp: bool = True,
        rules: Rules = OURS,
    ):
        known, good = gradient in GRADIENTS, 0.001 <= t <= 1 and isinstance(steps, int) and steps >= 1
        require("diffpure-sde", known, f"gradient {' or '.join(GRADIENTS)}", gradient=gradient)
        require("diffpure-sde", good, "t in [0.001,1] and whole steps from 1", t=t, steps=steps)
        require("diffpure-sde", 0 < first <= last < math.inf, "0 < first <= last", first=first, last=last)
        super().__init__(network, t=round(TIMESTEPS * t), checkpointed=checkpointed, surrogate=surrogate, clamp=clamp)
        self.first, self.last, self.gradient, self.rules = first, last, gradient, rules
        self.begin, self.times = t, rules.times(t, steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images in [0,1]."""
        if self.gradient == "adjoint" and torch.is_grad_enabled() and x.requires_grad:
            first, *seeds = draw_seeds(len(self.times))
            walk = list(zip(self.times[:-1], self.times[1:], seeds, strict=True))
            return self.to_image(Adjoint.apply(self.diffused(x, first), self, walk))
        return super().forward(x)

    def plan(self, x: Tensor) -> Plan:
        """Return the reverse steps from t*, whose noise derives from one draw of torch's global generator."""
        first, *seeds = draw_seeds(len(self.times))
        plan, left = Plan(x, self.diffused(x, first), self.to_image), len(seeds)
        for now, then, seed in zip(self.times[:-1], self.times[1:], seeds, strict=True):
            left -= 1
            mark = Mark(step=left, level=math.exp(-self.clock(then)), seed=first)
            plan.add(partial(self.step, now=now, then=then, seed=seed), mark)
        return plan

    def diffused(self, x: Tensor, seed: int) -> Tensor:
        """Return images [N,C,H,W] in [0,1] with the noise of t*, on the scale [-1,1]."""
        kept = math.exp(-self.clock(self.times[0]))
        if self.rules.start == "discrete":
            kept = float(self.level(self.top))
        return math.sqrt(kept) * (2 * x - 1) + math.sqrt(1 - kept) * seeded_noise(x, seed)

    def noised(self, x: Tensor) -> Tensor:
        """Return the images with the noise of t*, clamped to [0,1]."""
        (seed,) = draw_seeds(1)
        return from_signed(self.diffused(x, seed))

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> DiffPureSDE:
        """Return the same reverse SDE in fewer steps."""
        made, count = self.duplicate(), fewer(len(self.times) - 1, steps)
        made.times = self.rules.times(self.begin, count)
        return made

    def step(self, state: Tensor, now: float, then: float, seed: int) -> Tensor:
        """Take one reverse step between two times.

        Args:
            state: images [N,C,H,W] at time `now`, scaled to [-1,1].
            now: time of the state.
            then: time after the step.
            seed: seed of the step's noise.

        Returns:
            Images [N,C,H,W] at time `then`.
        """
        noise = self.noise(state, then, seed)
        return euler_maruyama(state, self.score(state, now), self.width(now, then), noise)

    def drift(self, state: Tensor, now: float) -> Tensor:
        """Return the drift of the reverse SDE per unit of its clock, [N,C,H,W]."""
        return state / 2 + self.score(state, now)

    def score(self, state: Tensor, now: float) -> Tensor:
        """Compute the gradient of log p_t at a state from the predicted noise: -eps / sqrt(1 - alpha-bar).

        Args:
            state: images [N,C,H,W] at time `now`, scaled to [-1,1].
            now: time of the state.

        Returns:
            The score [N,C,H,W].
        """
        label = self.rules.timestep(now)
        predicted = self.predict(state, torch.tensor(label, device=state.device, dtype=state.dtype))
        return -predicted / math.sqrt(-math.expm1(-self.clock(now)))

    def noise(self, state: Tensor, then: float, seed: int) -> Tensor | None:
        """Return the noise of a step, or None for a step without noise."""
        return seeded_noise(state, seed) if self.rules.last_noise or then > self.times[-1] else None

    def clock(self, t: float) -> float:
        """Return the integral of beta from 0 to a time; alpha-bar is exp(-clock)."""
        return self.first * t + (self.last - self.first) * t**2 / 2

    def width(self, now: float, then: float) -> float:
        """Return the integral of beta over a step from time `now` to the earlier time `then`, by the rules."""
        if self.rules.width == "start":
            return (self.first + (self.last - self.first) * now) * (now - then)
        return self.clock(now) - self.clock(then)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=10,
    licence="MIT",
    source="Nie et al. 2022, arXiv:2205.07460",
)
def diffpure_sde(
    *,
    weights: str = "fashion-ddpm",
    t: float = 0.15,
    steps: int = 10,
    gradient: str = "exact",
    clamp: bool = True,
    width: str = "integral",
    last_noise: bool = False,
    end: float = 0.0,
    start: str = "continuous",
    label: str = "time",
    checkpointed: bool = True,
    surrogate: str = "identity",
    architecture: Mapping[str, Any] | None = None,
) -> DiffPureSDE:
    """Diffuse to time t*, then solve the reverse VP-SDE by Euler-Maruyama: continuous DiffPure (Nie et al. 2022).

    Args:
        weights: a bundled name or a .safetensors file; a folder of diffusers' UNet2DModel; or a checkpoint (.pt, .pth,
            .ckpt, .pkl) of guided-diffusion, score_sde (VP), EDM or DDPM's U-Net, see `network`.
        t: time t* in [0.001,1].
        steps: number of evenly spaced time steps.
        gradient: `exact`, or `adjoint` for comparison.
        clamp: whether the purified image is clamped to [0,1].
        width: beta over a step: its `integral`, or that at the `start` of the step times its length.
        last_noise: whether the last step adds noise too.
        end: time at which the last step ends, in [0,0.001].
        start: noise of t*: of the `continuous` SDE, or of DDPM's `discrete` schedule.
        label: what the network is asked for: the `time`, or its `floor` as a whole timestep.
        checkpointed: whether the exact gradient recomputes each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
        architecture: arguments of the network that a checkpoint does not reveal, such as head_width or heads of
            guided-diffusion, and `parametrisation` where its keys leave it open; None for the defaults.
    """
    return DiffPureSDE(
        network(weights, architecture),
        t=t,
        steps=steps,
        gradient=gradient,
        checkpointed=checkpointed,
        surrogate=surrogate,
        clamp=clamp,
        rules=Rules(width=width, last_noise=last_noise, end=end, start=start, label=label),
    )
