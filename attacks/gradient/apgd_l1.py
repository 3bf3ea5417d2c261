"""The steps of Auto-PGD in l1 (Croce & Hein 2021, "Mind the box", arXiv:2103.01208).

The steepest step of the l1 ball moves a single pixel, which the box stops at once. So a step moves the components with
the largest gradients, all by the same amount; how many follows the sparsity of the best point so far. The projection is
the exact one onto the ball and the box at once, and the first steps are taken in wider balls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.gradient.apgd_state import Run
from purebench.core.threat import ThreatModel

WIDER = ((3.0, 0.3), (2.0, 0.3))
"""(times the radius, share of the steps) of the wider balls that a run passes through, the widest first."""
DENSE, SPARSER = 0.2, 1.5
"""Share of the components that the first steps move; later ones move those of the best point divided by SPARSER."""
SLOWER, SLOWEST = 1.5, 10.0
"""Where the sparsity has settled the step is divided by SLOWER, down to the first step over SLOWEST."""
SETTLED = 0.95
"""The sparsity has settled where at least this share of the components is still moved."""


class SparseSteps:
    """The moves of l1. start: where an earlier ball ended; its sparsity decides the first steps."""

    def __init__(self, threat: ThreatModel, steps: int, start: Tensor | None):
        self.every, self.start = max(int(0.04 * steps), 1), start
        self.first = threat.radius

    def move(self, run: Run, k: int) -> Tensor:
        """A step of l1 length eta along the signs of the largest components of the gradient, projected."""
        if k == 1:
            size = math.prod(run.x.shape[1:])
            # a start of its own tells how sparse the perturbation is by now
            run.moved_then = torch.full_like(run.loss, size) if self.start is None else moved(run.point, run.x)
            run.share = torch.full_like(run.loss, DENSE) if self.start is None else run.moved_then / size / SPARSER
        signs = largest(run.gradient, run.share)
        count = signs.flatten(1).abs().sum(1).clamp_min(1)
        return run.project(run.point + rows(run.step / count, run.x) * signs)

    def reconsider(self, run: Run, k: int, *, back: bool) -> None:
        """Every 4 % of the steps: how many components to move from now on, and by how much."""
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
    """In how many components the point differs from x, [N]."""
    return (point != x).flatten(1).sum(1).float()


def largest(gradient: Tensor, share: Tensor) -> Tensor:
    """The signs of the largest components of each gradient, a share [N] of them (at least one); zero elsewhere."""
    flat = gradient.flatten(1)
    size = flat.shape[1]
    place = ((1 - share) * size).long().clamp(0, size - 1)
    least = flat.abs().sort(dim=1).values.gather(1, place[:, None])
    return torch.where(flat.abs() >= least, flat.sign(), 0).view_as(gradient)
