"""Langevin purification with an energy-based model (Hill et al. 2021, arXiv:2005.13525; Yoon et al. 2021).

Steps of unadjusted Langevin dynamics move the image towards low energy, where clean images are, while their noise
removes the perturbation: x ← x - rate·∇f(x) + sqrt(2·rate·temperature)·noise (equation 4 of Hill et al., whose tau² / 2
is rate·temperature). For small rates the stationary density is proportional to exp(-f/temperature). Yoon et al.
(arXiv:2106.06041) take such steps without noise, at temperature 0. Each step is checkpointed and replays its noise, so
the exact gradient, which needs second derivatives of the energy, uses the same memory for any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier, State
from purebench.core.defense.listed import listed
from purebench.core.defense.trace import from_unit, unchanged
from purebench.defenses.checkpoints import load
from purebench.defenses.diffusion.chain import draw_seeds, gradient_of, run, seeded_noise
from purebench.defenses.diffusion.plan import Mark, Plan, fewer
from purebench.defenses.parameters import require


class Energy(nn.Module):
    """Energy of images [N,channels,size,size] in or near [0,1], as energies [N] of about 1, without a unit.

    Its activations are smooth, for second derivatives.

    Args:
        channels: channels of the images.
        size: pixels a side.
        widths: channels after each convolution of stride 2.
    """

    def __init__(self, *, channels: int = 1, size: int = 32, widths: Sequence[int] = (24, 48, 64)):
        super().__init__()
        layers: list[nn.Module] = []
        inner = channels
        for width in widths:
            layers += [nn.Conv2d(inner, width, 4, 2, 1), nn.SiLU()]
            inner = width
        side = size // 2 ** len(widths)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inner * side * side, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return energies [N]."""
        energy: Tensor = self.layers(2 * x - 1)[:, 0]
        return energy


def langevin(energy: Callable[[Tensor], Tensor], x: Tensor, seed: int, *, rate: float, temperature: float) -> Tensor:
    """Take one step of Langevin dynamics.

    Args:
        energy: the energy, [N,…] → [N].
        x: points [N,…].
        seed: seed of the step's noise.
        rate: step size.
        temperature: temperature, 0 for no noise.

    Returns:
        The next points [N,…].
    """
    moved = x - rate * gradient_of(energy, x)
    return moved + math.sqrt(2 * rate * temperature) * seeded_noise(x, seed) if temperature else moved


class Straight(torch.autograd.Function):
    """The state after a chain whose derivative is the identity; its backward pass does not run the chain again."""

    @staticmethod
    def forward(context: Any, x: Tensor, state: Tensor) -> Tensor:
        """Return the state."""
        return state.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient at the state as that at x."""
        return gradients[0], None


class EBMLangevin(Purifier):
    """Langevin steps on any energy (images [N,C,H,W] → [N]), started at the image and clamped to [0,1] at the end.

    At temperature 0 the purifier is deterministic. Where the energy is piecewise linear, its gradient is constant near
    almost every point, so that the derivative of a step is the identity: the backward pass then needs no step again.

    Args:
        energy: the energy.
        steps: number of steps.
        rate: step size, as in the formula of the module, in the units of x.
        temperature: temperature, as in the formula of the module, in the units of x.
        checkpointed: whether to recompute each step in the backward pass.
        clamp: whether the purified image is clamped to [0,1].
        piecewise_linear: whether the energy is piecewise linear, such as a network of convolutions and LeakyReLU.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        energy: nn.Module,
        *,
        steps: int = 40,
        rate: float = 1.0,
        temperature: float = 5e-5,
        checkpointed: bool = True,
        clamp: bool = True,
        piecewise_linear: bool = False,
    ):
        super().__init__()
        require("ebm-langevin", isinstance(steps, int) and steps >= 1, "a whole number of steps from 1", steps=steps)
        require(
            "ebm-langevin",
            0 < rate < math.inf and 0 <= temperature < math.inf,
            "a finite rate above 0 and a finite temperature from 0",
            rate=rate,
            temperature=temperature,
        )
        self.energy, self.steps, self.rate, self.temperature = energy, steps, rate, temperature
        self.checkpointed, self.random = checkpointed, temperature > 0
        self.clamp, self.piecewise_linear = clamp, piecewise_linear

    def plan(self, x: Tensor) -> Plan:
        """Return the steps, whose noise derives from one draw of torch's global generator."""
        plan = Plan(x, x, from_unit if self.clamp else unchanged, earlier_image=unchanged)
        step = partial(langevin, self.energy, rate=self.rate, temperature=self.temperature)
        for left, seed in zip(reversed(range(self.steps)), draw_seeds(self.steps), strict=True):
            plan.add(partial(step, seed=seed), Mark(step=left))
        return plan

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images, in [0,1] unless `clamp` is False."""
        if self.piecewise_linear and torch.is_grad_enabled() and x.requires_grad:
            with torch.no_grad():
                plan = self.plan(x)
                state = run(plan.start, plan.steps, checkpointed=False)
            return plan.to_image(Straight.apply(x, state))
        return self.plan(x).result(self.checkpointed)

    def trace(self, x: Tensor) -> Sequence[State]:
        """Return the state after each step, with the same noise as `forward`."""
        return self.plan(x).states(self.checkpointed)

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> EBMLangevin:
        """Return fewer steps with a proportionally larger rate, at the same temperature."""
        made = self.duplicate()
        made.steps = fewer(self.steps, steps)
        made.rate = self.rate * self.steps / made.steps
        return made


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=40,
    licence="MIT",
    source="Hill et al. 2021, arXiv:2005.13525",
)
def ebm_langevin(
    *,
    weights: str = "fashion-ebm",
    steps: int = 40,
    rate: float = 1.0,
    temperature: float = 5e-5,
    checkpointed: bool = True,
) -> EBMLangevin:
    """Run Langevin dynamics on an energy-based model (Hill et al. 2021).

    Args:
        weights: a bundled name or a .safetensors file.
        steps: number of steps.
        rate: step size, in the units of x.
        temperature: temperature, 0 for no noise.
        checkpointed: whether to recompute each step in the backward pass.
    """
    energy = load(weights, "energy", Energy)
    return EBMLangevin(energy, steps=steps, rate=rate, temperature=temperature, checkpointed=checkpointed)
