"""A view whose gradient is the mean of those at random points nearby, for gradients that change from pixel to pixel.

The gradient of a loss that is smoothed by noise, E L(x + σ u), points uphill also where that of L itself is shattered
(Balduzzi et al. 2017, arXiv:1702.08591): by rounding with a straight-through gradient, by k-winners-take-all, or by a
small term of high frequency. The mean over noise is that of EOT (Athalye et al. 2018, arXiv:1802.00420), with noise
that is not the defense's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from purebench.attacks.views.draws import Draws
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.attacks.views.look import Look, Loss, Objective
from purebench.attacks.views.view import View
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable, PurebenchError, did_you_mean
from purebench.core.parameters import Count, Positive, checked

PLAIN_GRADIENT = "the attack differentiates the defense itself, without smoothing; run it with the gradient exact"


@dataclass
class Smoothed(View):
    """A view with gradients that are averaged over noise, for attacks that call `look` or `ascend`.

    Attributes:
        samples: Noisy points per gradient.
        sigma: Standard deviation of the noise in each pixel, in the units of the images.
    """

    samples: int = 8
    sigma: float = 0.05

    def ascend(
        self,
        objective: Objective,
        x: Tensor,
        *rows: Tensor,
        done: Callable[[Tensor], Tensor] | None = None,
        signs: bool = False,
    ) -> Look:
        """Evaluate an objective as `View.ascend` does, with the mean gradient at noisy points."""
        with torch.no_grad():
            values, shown = self.drawn(objective, self.draws, x, *rows)
        values, shown = values.view(len(x), -1).mean(1), shown.view(len(x), self.draws, -1)
        many = [each.repeat_interleave(self.samples, 0) for each in (x, *rows)]
        noisy = (many[0] + self.sigma * torch.randn_like(many[0])).clamp(0, 1)
        found = super().ascend(objective, noisy, *many[1:], signs=signs)
        gradient = found.gradient.view(len(x), self.samples, *x.shape[1:]).mean(1)
        return Look(values, gradient, shown)

    def draws_at(self, x: Tensor, y: Tensor, loss: Loss, draws: int) -> Draws:
        """Refuse to evaluate single draws, whose gradients would not be smoothed.

        Raises:
            Inapplicable: Always.
        """
        raise Inapplicable(PLAIN_GRADIENT)

    def as_module(self) -> nn.Module:
        """Refuse to be a module for libraries, which would differentiate the defense itself.

        Raises:
            Inapplicable: Always.
        """
        raise Inapplicable(PLAIN_GRADIENT)


@checked("smoothed")
def smoothed(
    defense: Defense, *, eot: int = 1, samples: Count = 8, sigma: Positive = 0.05, through: str = "exact"
) -> View:
    """Average the gradient over random points nearby.

    Args:
        defense: The defense to attack.
        eot: Draws that are averaged at each point.
        samples: Noisy points per gradient.
        sigma: Standard deviation of the noise in each pixel.
        through: Gradient at each point: exact, or bpda for that of the purifier's surrogate.

    Raises:
        PurebenchError: If `through` is another word.
        Inapplicable: If no gradient comes through the purifier, and `through` is exact.
    """
    modes = {"exact": exact, "bpda": bpda}
    if through not in modes:
        raise PurebenchError(f"smoothed: through: {through!r} is unknown; {did_you_mean(through, modes)}")
    plain = modes[through](defense, eot=eot)
    return Smoothed(defense, plain.purify, plain.random, True, eot, samples=samples, sigma=sigma)
