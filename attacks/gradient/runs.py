"""Groups the runs of an attack, its restarts and target classes, into waves that are computed in the same passes.

An image leaves its run as soon as it is broken, so that the passes of later runs would have few images. Several runs of
the images that are left therefore share their passes, as many as fit into a device batch, if the view is deterministic.
The first run is always alone, because it breaks most of the images that an attack breaks.

The random starts of a run are drawn for all images, run by run. The points of a run thus do not depend on which runs
share its passes, except for rounding: libraries compute batches of different sizes with different algorithms. If two
runs of a wave break an image, the earlier step counts, and of equal steps the earlier run.

On a random view each run is alone, and its starts are drawn for the images that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.attacks.best import Best
from purebench.attacks.views.view import View
from purebench.core.norms.norms import NORMS
from purebench.core.threat import ThreatModel


def random_start(x: Tensor, threat: ThreatModel) -> Tensor:
    """Return a random point of the threat model around x, [N,C,H,W]."""
    return threat.project(x + threat.radius * NORMS[threat.norm].random(x), x)


@dataclass(frozen=True)
class Wave:
    """Runs that are computed together: one row for each run and image, the rows of a run one after the other.

    Attributes:
        index: Which image, [M]; an image has a row in each run.
        x: The clean images, [M,C,H,W].
        aims: Labels, [M] or [M,2].
        first: Whether it is the first run.
        runs: Number of runs.
        pool: Images [P,C,H,W] that the random starts of each run are drawn for.
        attacked: Which of these have rows, [M/runs].
    """

    index: Tensor
    x: Tensor
    aims: Tensor
    first: bool
    runs: int
    pool: Tensor
    attacked: Tensor

    def random_start(self, threat: ThreatModel) -> Tensor:
        """Return a random point of the threat model for each row, [M,C,H,W]."""
        return torch.cat([random_start(self.pool, threat)[self.attacked] for _ in range(self.runs)])


def waves(view: View, best: Best, x: Tensor, aims: Sequence[Tensor]) -> Iterator[Wave]:
    """Yield the runs of an attack on the images that are still attacked when a wave begins.

    Args:
        view: The view that is attacked.
        best: The best points so far; its `open` says which images are still attacked.
        x: Images [N,C,H,W] in [0,1].
        aims: The labels of each run, [N] or [N,2].
    """
    places, begun = max(len(x), view.batch.size), 0
    while begun < len(aims):
        left = best.open.nonzero().squeeze(1)
        if not len(left):
            return
        together = 1 if view.random or not begun else min(places // len(left), len(aims) - begun)
        alone = view.random or not begun
        yield Wave(
            index=left.repeat(together),
            x=x[left].repeat(together, *[1] * (x.ndim - 1)),
            aims=torch.cat([one[left] for one in aims[begun : begun + together]]),
            first=not begun,
            runs=together,
            pool=x[left] if alone else x,
            attacked=torch.arange(len(left), device=x.device) if alone else left,
        )
        begun += together
