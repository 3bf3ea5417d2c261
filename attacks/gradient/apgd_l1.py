"""The steps of Auto-PGD in l1 (Croce & Hein 2021, "Mind the box", arXiv:2103.01208).

The steepest step of the l1 ball changes a single pixel, which soon reaches 0 or 1. Therefore a step changes the
components with the largest gradients, all by the same amount; their number follows the sparsity of the best point so
far. The projection is the exact one onto the intersection of ball and box, and the first steps are taken in wider
balls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.gradient.apgd_state import RunState
from purebench.core.threat import ThreatModel

WIDER = ((3.0, 0.3), (2.0, 0.3))
"""(times the radius, share of the steps) of the wider balls that a run passes through, the widest first."""
DENSE, SPARSER = 0.2, 1.5
"""DENSE is the share of components that the first steps change; later steps change as many as the best point, divided
by SPARSER."""
SLOWER, SLOWEST = 1.5, 10.0
"""Once the sparsity has settled, the step is divided by SLOWER, down to the first step divided by SLOWEST."""
SETTLED = 0.95
"""The sparsity has settled when at least this share of the components is still changed."""


class SparseSteps:
    """Rule of steps for l1.

    Attributes:
        every: Steps between two adaptations of sparsity and step size.
        start: Last point of an earlier, wider ball, [M,C,H,W], or None; its sparsity decides the first steps.
        first: First step size, the radius.
    """

    def __init__(self, threat: ThreatModel, steps: int, start: Tensor | None):
        self.every, self.start = max(int(0.04 * steps), 1), start
        self.first = threat.radius

    def move(self, run: RunState, k: int) -> Tensor:
        """Return x^(k): a step of l1 length eta along the signs of the gradient's largest components, projected."""
        if k == 1:
            size = math.prod(run.x.shape[1:])
            # a given start shows how sparse the perturbation already is
            run.moved_then = torch.full_like(run.loss, size) if self.start is None else moved(run.point, run.x)
            run.share = torch.full_like(run.loss, DENSE) if self.start is None else run.moved_then / size / SPARSER
        signs = largest(run.gradient, run.share)
        count = signs.flatten(1).abs().sum(1).clamp_min(1)
        return run.project(run.point + rows(run.step / count, run.x) * signs)

    def reconsider(self, run: RunState, k: int, *, back: bool) -> None:
        """Adapt the number of components that are changed and the step size, every 4 % of the steps."""
        if k % self.every:
            return
        now = moved(run.top_point, run.x)
        sparser = now < SETTLED * run.moved_then
        run.share = now / math.prod(run.x.shape[1:]) / SPARSER
        run.step = torch.where(sparser, self.first, (run.step / SLOWER).clamp_min(self.first / SLOWEST))
        run.moved_then = now
        if back:
            run.go_back(sparser)


def moved(point: Tensor, x: Tensor) -> Tensor:
    """Return the number of components in which the point differs from x, [N]."""
    return (point != x).flatten(1).sum(1).float()


def largest(gradient: Tensor, share: Tensor) -> Tensor:
    """Return the signs of the largest components of each gradient, and zero elsewhere.

    Args:
        gradient: Gradients [N,…].
        share: Share of the components to keep, [N]; at least one is kept.
    """
    flat = gradient.flatten(1)
    size = flat.shape[1]
    place = ((1 - share) * size).long().clamp(0, size - 1)
    least = flat.abs().sort(dim=1).values.gather(1, place[:, None])
    return torch.where(flat.abs() >= least, flat.sign(), 0).view_as(gradient)
