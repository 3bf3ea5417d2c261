"""Fast minimum-norm attack, FMN (Pintor et al. 2021, arXiv:2102.12827, algorithm 1), untargeted, in l1, l2 and linf.

Steps along the gradient of the margin are projected to a ball around the image whose radius grows while the point is
classified correctly and shrinks while it is not; the step length and the change of the radius follow a cosine from
their first value to their last. There are two differences from the paper. The gradient respects the box: a component
that is stopped by 0 or 1 is left out; otherwise the distance to the boundary is estimated with steps that cannot be
made, and where most pixels are black the radius never becomes large enough (in l2 on 7 of 16 images of Fashion-MNIST).
And the first radius exceeds that distance by a share: on the boundary itself, rounding decides the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import margin
from purebench.attacks.min_norm.nearest_search import NearestSearch
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.norms.norms import NORMS, l2_direction, shrunk
from purebench.core.parameters import Count, InnerShare, Positive
from purebench.core.threat import Knowledge, ThreatModel


def annealed(first: float, last: float, k: int, steps: int) -> float:
    """Return the value at step k of `steps`, on a cosine from `first` to `last`."""
    return last + (first - last) * (1 + math.cos(math.pi * k / steps)) / 2


def shortened(norm: str, x: Tensor, delta: Tensor, radius: Tensor) -> Tensor:
    """Project perturbations to balls of different radii, and to the box.

    Every norm is homogeneous, so that a ball of any radius is the ball of radius 1, scaled.

    Args:
        norm: linf, l2 or l1.
        x: Images [N,C,H,W] in [0,1].
        delta: Perturbations [N,C,H,W].
        radius: Radius of each ball, [N].
    """
    scale = rows(radius, delta)
    if norm == "l1":  # ball and box jointly: one after the other would not use the whole radius
        room = torch.where(delta > 0, 1 - x, x)
        return shrunk(delta / scale, room / scale, 1.0) * scale
    return (x + NORMS[norm].project(delta / scale, 1.0) * scale).clamp(0, 1) - x


@listed("fast minimum norm: projections onto a ball whose radius adapts", sees="white-box", bounded=False)
@dataclass(frozen=True, kw_only=True)
class FMN(NativeAttack):
    """Fast minimum-norm attack.

    Attributes:
        steps: Gradients per image.
        alpha: First length of a step in l2, in the units of x.
        alpha_last: Last length of a step; None for alpha/100.
        gamma: First share by which the radius grows or shrinks.
        gamma_last: Last share by which the radius grows or shrinks.
    """

    steps: Count = 100
    alpha: Positive = 1.0
    alpha_last: Positive | None = None
    gamma: InnerShare = 0.05
    gamma_last: InnerShare = 0.001
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Return the nearest adversarial examples found, in the threat model's norm.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model, whose radius is not used.
        """
        nearest = NearestSearch(view, x, y, threat.norm)
        index = nearest.open()
        if len(index):
            self._run(view, nearest, index, threat.norm)
        return nearest.answer()

    def _run(self, view: View, nearest: NearestSearch, index: Tensor, norm: str) -> None:
        x, y = nearest.x[index], nearest.y[index]
        size, direction = NORMS[norm].size, NORMS[norm].direction
        last = self.alpha / 100 if self.alpha_last is None else self.alpha_last
        whole = size(torch.maximum(x, 1 - x))  # largest perturbation inside the box
        delta, radius = torch.zeros_like(x), whole
        for k in range(self.steps):
            alpha = annealed(self.alpha, last, k, self.steps)
            gamma = annealed(self.gamma, self.gamma_last, k, self.steps)
            point = (x + delta).clamp(0, 1)
            look = view.look(point, y, margin)
            wrong = nearest.see(index, point, look.logits)
            best = nearest.distance[index]
            stopped = ((point <= 0) & (look.gradient < 0)) | ((point >= 1) & (look.gradient > 0))
            gradient = look.gradient.masked_fill(stopped, 0)
            steepness = (gradient * direction(gradient)).flatten(1).sum(1)  # the gradient's dual norm
            boundary = size(delta) + look.loss.abs() / steepness.clamp_min(1e-12)  # by linear approximation
            outwards = torch.where(best < torch.inf, radius, boundary) * (1 + gamma)
            radius = torch.where(wrong, torch.minimum(radius * (1 - gamma), best), outwards)
            radius = torch.minimum(radius, whole).clamp_min(1e-9)
            delta = shortened(norm, x, delta + alpha * l2_direction(gradient), radius)
        point = (x + delta).clamp(0, 1)
        nearest.see(index, point, view.scores(point))
