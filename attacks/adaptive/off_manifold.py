"""An attack on the purifier alone: push what it answers away from the image, and never ask the classifier's gradient.

Where a purifier can be made to answer with another picture, whatever classifier stands behind it is lost. That the
reconstruction error of a generative model is an objective of its own is from Kos et al. 2018 (arXiv:1702.06832, the
attacks on VAEs); the defense's answers only tell which images are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import Best, rows
from purebench.attacks.black_box.square import mean_margin
from purebench.attacks.gradient.apgd_l1 import largest
from purebench.attacks.gradient.losses import margin
from purebench.attacks.gradient.pgd import arrive, random_start, see_scores
from purebench.attacks.parameters import at_least_one
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.norms import NORMS
from purebench.core.protocols import Inapplicable, check_logits
from purebench.core.threat import Knowledge, ThreatModel

Uphill = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""uphill(step, index [M], points [M,C,H,W]) → where to go [M,C,H,W], and the defense's logits there [M,draws,K] if they
came with it."""

ASK = 5
"""Steps after which the defense is asked where the objective does not bring its answers along."""
MOMENTUM = 0.75
"""Share of the new step in a move; the rest is the last move's (as in Auto-PGD, arXiv:2003.01690)."""
L1_SHARE = 0.05
"""Share of the components that a step moves in l1, where the steepest step moves a single pixel."""


def climb(
    view: View, x: Tensor, y: Tensor, threat: ThreatModel, uphill: Uphill, *, steps: int, restarts: int
) -> Tensor:
    """Projected steps with momentum from random points, their length falling from twice the radius to zero.

    `uphill` may follow anything; what counts is what the defense answers along the way, as with every attack. Returns
    the best point found of each image, [N,C,H,W].
    """
    best = Best(view, x, y)
    see_scores(view, best, torch.arange(len(x), device=x.device), x, margin)
    for _ in range(restarts):
        index = best.open.nonzero().squeeze(1)
        if len(index):
            _run(view, x[index], index, threat, best, uphill, steps)
    return best.points()


def _run(view: View, clean: Tensor, index: Tensor, threat: ThreatModel, best: Best, uphill: Uphill, steps: int) -> None:
    point = before = random_start(clean, threat)
    for k in range(steps):
        gradient, logits = uphill(k, index, point)
        ahead = threat.project(point + 2 * threat.radius * (1 - k / steps) * heading(gradient, point, threat), clean)
        share = MOMENTUM if k else 1.0
        move = share * (ahead - point) + (1 - share) * (point - before)
        if logits is None and k and k % ASK == 0:
            logits = view.scores(point)
        stay = torch.ones_like(index, dtype=torch.bool) if logits is None else see(best, index, point, logits)
        before, point = point, threat.project(point + move, clean)
        if not bool(stay.all()):
            index, clean, point, before = index[stay], clean[stay], point[stay], before[stay]
            if not len(index):
                return
    arrive(view, best, index, point, margin)


def heading(gradient: Tensor, point: Tensor, threat: ThreatModel) -> Tensor:
    """The steepest perturbation of norm 1; in l1 an equal move of the components with the largest gradients.

    Components that stand at the box's border and would leave it are none of those: they would waste the step.
    """
    if threat.norm != "l1":
        return NORMS[threat.norm].direction(gradient)
    stuck = torch.where(gradient > 0, point >= 1, point <= 0)
    signs = largest(gradient.masked_fill(stuck, 0), torch.full((len(gradient),), L1_SHARE, device=gradient.device))
    return signs / rows(signs.flatten(1).abs().sum(1).clamp_min(1), signs)


def see(best: Best, index: Tensor, points: Tensor, logits: Tensor) -> Tensor:
    """Shows `best` the defense's logits [M,draws,K] at the points; which images stay, bool [M]."""
    return best.see(index, points, mean_margin(logits, best.y[index]), logits)


@dataclass(frozen=True, kw_only=True)
class OffManifold:
    """Raises |purify(x') - x|², the mean over the view's draws.

    steps: gradients an image and restart, through the purifier as the view has it (`exact`, `bpda`, …).
    """

    steps: int = 40
    restarts: int = 1
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        at_least_one(steps=self.steps, restarts=self.restarts)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """The best point found of each image.

        Raises Inapplicable without a purifier, PurebenchError where the view does not show it.
        """
        if view.defense.purifier is None:
            raise Inapplicable("the defense has no purifier to push off its manifold")
        if not view.decides:
            raise PurebenchError(
                "off-manifold: expected a view of the purifier, but got one that leaves it out; use exact or bpda."
            )

        def away(images: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
            purified = view.purify(images)
            view.forwards += len(images)
            with torch.no_grad():
                logits = check_logits(view.defense.classifier(purified), len(images))
            clean = clean if clean.ndim == purified.ndim else clean[:, None]  # an image for several votes
            return (purified - clean).flatten(1).square().sum(1), logits

        def uphill(_: int, index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
            look = view.ascend(away, points, x[index])
            return look.gradient, look.logits

        return climb(view, x, y, threat, uphill, steps=self.steps, restarts=self.restarts)
