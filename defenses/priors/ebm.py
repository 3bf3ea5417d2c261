"""Langevin purification by an energy-based model (Hill et al. 2021, arXiv:2005.13525; Yoon et al. 2021).

Steps of unadjusted Langevin dynamics lead the image towards low energy, where clean images are, while their noise
forgets what was added to it: x ← x - rate·∇f(x) + sqrt(2·rate·temperature)·noise (equation 4 of Hill et al., whose
tau² / 2 is rate·temperature). For small rates its stationary density is proportional to exp(-f/temperature). Yoon et
al. (arXiv:2106.06041) take such steps without noise: temperature 0. Each step is checkpointed and replays its noise, so
the exact gradient, a second derivative of the energy, needs the same memory for any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from purebench.core.defense import Purifier
from purebench.defenses.checkpoints import load
from purebench.defenses.diffusion.sampling import draw_seeds, gradient_of, require, run, seeded_noise


class Energy(nn.Module):
    """Images [N,channels,size,size] in [0,1], and what is near them → energies [N], of about 1 and with no unit.

    widths: channels after each convolution of stride 2. Its activations are smooth, for second derivatives.
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
        """See the class."""
        energy: Tensor = self.layers(2 * x - 1)[:, 0]
        return energy


def langevin(energy: Callable[[Tensor], Tensor], x: Tensor, seed: int, *, rate: float, temperature: float) -> Tensor:
    """One step of Langevin dynamics from points [N,…]; the seed decides its noise."""
    moved = x - rate * gradient_of(energy, x)
    return moved + math.sqrt(2 * rate * temperature) * seeded_noise(x, seed) if temperature else moved


class EBMLangevin(Purifier):
    """Langevin steps on any energy (images [N,C,H,W] → [N]) from the image on, clamped to [0,1] at the end.

    steps: how many; rate, temperature: as of the module's formula, in the units of x; checkpointed: take each step
    again in the backward pass. Without temperature nothing is random. Raises PurebenchError for values out of range.
    """

    def __init__(
        self,
        energy: nn.Module,
        *,
        steps: int = 40,
        rate: float = 1.0,
        temperature: float = 5e-5,
        checkpointed: bool = True,
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

    def forward(self, x: Tensor) -> Tensor:
        """Purified images in [0,1]; one draw of all noises from torch's global generators."""
        step = partial(langevin, self.energy, rate=self.rate, temperature=self.temperature)
        steps = [partial(step, seed=seed) for seed in draw_seeds(self.steps)]
        return run(x, steps, self.checkpointed).clamp(0, 1)


def ebm_langevin(
    *,
    weights: str = "fashion-ebm",
    steps: int = 40,
    rate: float = 1.0,
    temperature: float = 5e-5,
    checkpointed: bool = True,
) -> EBMLangevin:
    """Langevin dynamics on an energy-based model (Hill et al. 2021)."""
    energy = load(weights, "energy", Energy)
    return EBMLangevin(energy, steps=steps, rate=rate, temperature=temperature, checkpointed=checkpointed)
