"""An attack on the purifier alone: maximises the distance between the purified and the clean image.

If a purifier can be made to return a different picture, the defense fails with any classifier. The reconstruction error
of a generative model as an objective is from Kos et al. 2018 (arXiv:1702.06832, the attacks on VAEs). The gradient of
the classifier is never used; the defense's answers only show which images are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.apgd_l1 import largest
from purebench.attacks.gradient.losses import margin, mean_over_draws
from purebench.attacks.gradient.pgd import arrive, see_scores
from purebench.attacks.gradient.runs import Wave, waves
from purebench.attacks.views.view import View
from purebench.core.answers import Inapplicable, check_logits
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import CheckedParameters, Count
from purebench.core.threat import Knowledge, ThreatModel

Uphill = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""uphill(step, index [M], points [M,C,H,W]) → the gradient to ascend [M,C,H,W], and the defense's logits at the points
[M,draws,K] if they were computed on the way."""

ASK = 5
"""Number of steps after which the defense is evaluated, if the objective does not compute its logits on the way."""
MOMENTUM = 0.75
"""Share of the new step in a move; the rest is the last move's (as in Auto-PGD, arXiv:2003.01690)."""
L1_SHARE = 0.05
"""Share of the components that a step changes in l1, where the steepest step changes a single pixel."""


def climb(
    view: View, x: Tensor, y: Tensor, threat: ThreatModel, uphill: Uphill, *, steps: int, restarts: int
) -> Tensor:
    """Take projected steps with momentum from random points; their length falls from twice the radius to zero.

    `uphill` may follow any objective; the best point is decided by the defense's answers along the way, as in every
    attack.

    Args:
        view: The defense as the attack sees it.
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].
        threat: The threat model.
        uphill: Returns the gradient to ascend (see `Uphill`).
        steps: Steps per image and restart.
        restarts: Number of random starts.

    Returns:
        The best point found for each image, [N,C,H,W].
    """
    best = Best(view, x, y)
    see_scores(view, best, torch.arange(len(x), device=x.device), x, margin)
    for wave in waves(view, best, x, [y] * restarts):
        _run(view, wave, threat, best, uphill, steps)
    return best.points()


def _run(view: View, wave: Wave, threat: ThreatModel, best: Best, uphill: Uphill, steps: int) -> None:
    index, clean = wave.index, wave.x
    point = before = wave.random_start(threat)
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
    """Return the steepest perturbation of norm 1; in l1 an equal change of the components with the largest gradients.

    In l1, components at the border of the box that would leave it are not counted, as they would waste the step.

    Args:
        gradient: Gradients [M,C,H,W].
        point: Current points [M,C,H,W] in [0,1].
        threat: The threat model.
    """
    if threat.norm != "l1":
        return NORMS[threat.norm].direction(gradient)
    stuck = torch.where(gradient > 0, point >= 1, point <= 0)
    signs = largest(gradient.masked_fill(stuck, 0), torch.full((len(gradient),), L1_SHARE, device=gradient.device))
    return signs / rows(signs.flatten(1).abs().sum(1).clamp_min(1), signs)


def see(best: Best, index: Tensor, points: Tensor, logits: Tensor) -> Tensor:
    """Record the defense's logits at some points.

    Args:
        best: The best points so far.
        index: Which images the points belong to, [M].
        points: The points [M,C,H,W].
        logits: Logits at the points, [M,draws,K].

    Returns:
        Which of these images need further attack, bool [M].
    """
    return best.see(index, points, mean_over_draws(margin, logits, best.y[index]), logits)


@listed("maximises the distance of the purified image from the clean one", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class OffManifold(CheckedParameters):
    """Maximises |purify(x') - x|², the mean over the EOT samples.

    Attributes:
        steps: Gradients per image and restart, through the purifier in the gradient mode (`exact`, `bpda`, …).
        restarts: Number of random starts.
    """

    steps: Count = 40
    restarts: Count = 1
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the defense has no purifier, or one that resizes images.
            PurebenchError: If the gradient mode leaves the purifier out.
        """
        if view.defense.purifier is None:
            raise Inapplicable("the defense has no purifier")
        if view.defense.purifier.resizes:
            raise Inapplicable("the purified image has another size than the image")
        if view.changes_loss:
            raise Inapplicable("the view changes a loss of the classifier, which this attack does not use")
        if not view.decides:
            raise PurebenchError(
                "off-manifold: expected a view that includes the purifier, but got one without it; use exact or bpda."
            )

        def away(images: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
            purified = view.purify(images)
            view.forwards += len(images)
            with torch.no_grad():
                logits = check_logits(view.defense.classifier(purified), len(images))
            clean = clean if clean.ndim == purified.ndim else clean[:, None]  # one image for several votes
            return (purified - clean).flatten(1).square().sum(1), logits

        def uphill(_: int, index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
            look = view.ascend(away, points, x[index])
            return look.gradient, look.logits

        return climb(view, x, y, threat, uphill, steps=self.steps, restarts=self.restarts)
