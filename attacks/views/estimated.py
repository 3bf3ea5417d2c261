"""A view whose gradient is estimated from values alone, for defenses whose own gradient is missing or misleading.

    g = mean_i (L(x + σ u_i) - L(x - σ u_i)) / (2 σ) · u_i

with directions u_i of random signs (SPSA: Spall 1992; against masked gradients: Uesato et al. 2018, arXiv:1802.05666).
Every attack that follows `look` becomes an attack that needs only scores. Directions may be constant on square tiles
(Ilyas et al. 2019, arXiv:1807.07978), which are fewer numbers to estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.views.gradient_modes import no_gradient
from purebench.attacks.views.look import Look, Loss, Objective
from purebench.attacks.views.view import View
from purebench.core.defense import Defense
from purebench.core.parameters import Count, CountOrZero, Positive, checked


@dataclass
class Estimated(View):
    """A view with estimated gradients.

    Attributes:
        samples: Pairs of evaluations per gradient.
        sigma: Distance σ of the evaluations from the point in each pixel, in the units of the images.
        tiles: Tiles along each side of the image on which a direction is constant; 0 for single pixels.
    """

    samples: int = 20
    sigma: float = 0.02
    tiles: int = 0

    def evaluate(self, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the loss [M] and the logits [M,K] in float32: a small difference of values is not one of bf16."""
        logits = self.logits(images)
        return loss(logits, labels), logits

    @torch.no_grad()
    def ascend(
        self,
        objective: Objective,
        x: Tensor,
        *rows: Tensor,
        done: Callable[[Tensor], Tensor] | None = None,
        signs: bool = False,
    ) -> Look:
        """Evaluate an objective as `View.ascend` does, with an estimate in place of its gradient.

        On a random defense each evaluation is a draw of its own.
        """
        values, shown = self.drawn(objective, self.draws, x, *rows)
        values, shown = values.view(len(x), -1).mean(1), shown.view(len(x), self.draws, -1)
        gradient = torch.zeros_like(x)
        for _ in range(self.samples):
            u = self._direction(x)
            ahead, _ = self.batch.map(objective, (x + self.sigma * u).clamp(0, 1), *rows)
            behind, _ = self.batch.map(objective, (x - self.sigma * u).clamp(0, 1), *rows)
            gradient += ((ahead - behind) / (2 * self.sigma * self.samples)).view(-1, 1, 1, 1).to(x) * u
        gradient = self.checked(gradient, lambda: None if done is None else done(shown))
        return Look(values, gradient.sign() if signs else gradient, shown)

    def _direction(self, x: Tensor) -> Tensor:
        """Return random signs [N,C,H,W], constant on tiles."""
        height, width = x.shape[2:]
        size = (height, width) if not self.tiles else (min(self.tiles, height), min(self.tiles, width))
        u = torch.randint(0, 2, (*x.shape[:2], *size), device=x.device).to(x) * 2 - 1
        return functional.interpolate(u, (height, width), mode="nearest") if self.tiles else u


@checked("estimated")
def estimated(
    defense: Defense, *, eot: int = 1, samples: Count = 20, sigma: Positive = 0.02, tiles: CountOrZero = 0
) -> View:
    """Estimate the gradient of the whole defense from pairs of scores (SPSA).

    Args:
        defense: The defense to attack.
        eot: Draws that the loss at the point itself is averaged over.
        samples: Pairs of evaluations per gradient.
        sigma: Distance of the evaluations from the point in each pixel.
        tiles: Tiles along each side of the image on which a direction is constant; 0 for single pixels.
    """
    plain = no_gradient(defense, eot=eot)
    return Estimated(defense, plain.purify, plain.random, True, eot, samples=samples, sigma=sigma, tiles=tiles)
