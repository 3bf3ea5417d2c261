"""Projected gradient descent (Madry et al. 2018, arXiv:1706.06083), and its variants FGSM and MI-FGSM.

FGSM (Goodfellow et al. 2015, arXiv:1412.6572) is one step of the whole radius from the image itself; MI-FGSM (Dong et
al. 2018, arXiv:1710.06081) adds up the gradients, each divided by its mean absolute value, with the decay `momentum`.

The step is x ← P(x + length · d(g)) with the gradient g of the loss, averaged over draws by `View.look`. d is the
steepest perturbation of norm 1: sign(g) in linf, g / |g|_2 in l2 (`NORMS` in core/norms/norms.py has the formula of
each norm). P projects to the ball of the radius around the image and to the box [0,1] (`ThreatModel.around`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from purebench.attacks.best import Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.runs import Wave, waves
from purebench.attacks.gradient.targets import aims_of_runs, clean_scores
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.look import Loss
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.norms.norm_facts import DENSE
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, CountOrZero, NonNegative, Positive, checked
from purebench.core.threat import Knowledge, ThreatModel


@listed("projected gradient descent", norms="linf l2", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class PGD(NativeAttack):
    """Projected gradient descent: x ← P(x + step · direction(gradient)), from the image or from random starts.

    The first gradient is always taken at the image itself, which shows at no further cost whether it is already
    misclassified.

    Attributes:
        loss: Name of the loss.
        steps: Gradient steps.
        step: Length of a step as a share of the radius; None for 2.5/steps.
        restarts: Number of starts, for each target class if there are any.
        random: Start at a random point instead of the image.
        momentum: Decay of the sum of normalised gradients; 0 for the gradient alone.
        targets: Number of target classes, the most likely wrong ones at the clean image first, each with a targeted
            loss and runs of its own; 0 for an untargeted attack.
        votes: Combination of the draws' gradients: their mean, or the sum of their signs, as in the evaluation of GDMP
            (Wang et al. 2022, arXiv:2205.14969).
    """

    loss: str = "ce"
    steps: Count = 40
    step: Positive | None = None
    restarts: Count = 1
    random: bool = True
    momentum: NonNegative = 0.0
    targets: CountOrZero = 0
    votes: Literal["mean", "sign"] = "mean"
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.find(self.loss, targeted=self.targets > 0)

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack supports a threat model.

        Raises:
            PurebenchError: If the norm is l1, where the steepest step moves a single pixel; with votes=sign, if it is
                not linf, whose steps are signs.
        """
        check_dense("pgd", threat)
        if self.votes == "sign" and threat.norm != "linf":
            raise PurebenchError(
                f"pgd: votes: expected mean in the norm {threat.norm}, but got sign, which is for linf; use votes=mean."
            )

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            PurebenchError: If the attack does not support the threat model (see `check`).
        """
        self.check(threat)
        best = Best(view, x, y)
        for wave in waves(view, best, x, self._aims(view, x, best) * self.restarts):
            self._run(view, wave, threat, best)
        return best.points()

    def _aims(self, view: View, x: Tensor, best: Best) -> list[Tensor]:
        """Return the labels of each run, [N] or [N,2]; targets are chosen on draws at the clean images."""
        if not self.targets:
            return [best.y]
        logits, everyone = clean_scores(view, x, self.targets), torch.arange(len(x), device=x.device)
        best.see(everyone, x, torch.full((len(x),), -torch.inf, device=x.device), logits, scored=True)
        return aims_of_runs(logits, best.y, self.targets)

    def _run(self, view: View, wave: Wave, threat: ThreatModel, best: Best) -> None:
        index, clean, aims = wave.index, wave.x, wave.aims
        loss, direction = losses.find(self.loss, targeted=self.targets > 0), NORMS[threat.norm].direction
        length = threat.radius * (2.5 / self.steps if self.step is None else self.step)
        point = wave.random_start(threat) if self.random else clean
        if wave.first and view.start is not None:
            point = threat.project(view.start[index], clean)
        heading = torch.zeros_like(clean) if self.momentum else None
        project = threat.around(clean)
        for step in range(self.steps):
            seen = clean if wave.first and step == 0 else point
            look = view.look(seen, aims, loss, signs=self.votes == "sign")
            stay = best.see(index, seen, look.loss, look.logits)  # False for the images that are broken
            gradient = look.gradient
            if heading is not None:
                gradient = heading = self.momentum * heading + normalised(gradient)
            point = project(direction(gradient).mul_(length).add_(point))  # in place: no copy of the images
            if not bool(stay.all()):
                index, clean, aims, point = index[stay], clean[stay], aims[stay], point[stay]
                project = threat.around(clean)
                heading = None if heading is None else heading[stay]
                if not len(index):
                    return
        untargeted = losses.margin if self.targets else loss  # comparable between targets
        arrive(view, best, index, point, untargeted, look=self.restarts > 1 or self.targets > 1)


def check_dense(attack: str, threat: ThreatModel) -> None:
    """Check that the norm has steepest steps that move all pixels.

    Args:
        attack: Name of the attack, for the error message.
        threat: The threat model.

    Raises:
        PurebenchError: If the norm is l1, where the steepest step moves a single pixel.
    """
    if threat.norm not in DENSE:
        raise PurebenchError(
            f"{attack}: expected the norm {' or '.join(DENSE)}, but got {threat.norm}; use apgd, which supports it."
        )


def normalised(gradient: Tensor) -> Tensor:
    """Return each image's gradient divided by its mean absolute value."""
    size = gradient.flatten(1).abs().mean(1).clamp_min(1e-30)
    return gradient / rows(size, gradient)


def see_scores(view: View, best: Best, index: Tensor, point: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Evaluate points without a gradient, and record them.

    Args:
        view: The defense as the attack sees it.
        best: The best points so far.
        index: Which images the points belong to, [M].
        point: The points [M,C,H,W].
        loss: The loss.

    Returns:
        The loss [M], and which images need further attack, bool [M].
    """
    logits = view.scores(point)
    value = losses.mean_over_draws(loss, logits, best.y[index])
    return value, best.see(index, point, value, logits, scored=True)


def arrive(view: View, best: Best, index: Tensor, point: Tensor, loss: Loss, *, look: bool = True) -> None:
    """End a run at its last points.

    Args:
        view: The defense as the attack sees it.
        best: The best points so far.
        index: Which images the points belong to, [M].
        point: The last points, [M,C,H,W].
        loss: The loss.
        look: Evaluate the points once more, to decide between runs. Otherwise they are taken as they are, as on a
            random defense, where `settle` takes fresh draws anyway.
    """
    if best.lucky or not look:
        best.settle(index, point, torch.zeros(len(index), device=point.device))
    else:
        value, stay = see_scores(view, best, index, point, loss)
        best.settle(index[stay], point[stay], value[stay])


@listed("one step along the gradient", norms="linf l2", sees="white-box", bounded=True)
def fgsm(*, loss: str = "ce") -> PGD:
    """Return PGD with one step of the whole radius from the image itself (Goodfellow et al. 2015)."""
    return PGD(loss=loss, steps=1, step=1.0, random=False)


@listed("gradient steps with momentum", norms="linf l2", sees="white-box", bounded=True)
@checked()
def mi_fgsm(*, loss: str = "ce", steps: Count = 10, momentum: NonNegative = 1.0) -> PGD:
    """Return PGD with steps of radius/steps along the accumulated, normalised gradients (Dong et al. 2018).

    Args:
        loss: Name of the loss.
        steps: Gradient steps.
        momentum: Decay of the sum of normalised gradients.
    """
    return PGD(loss=loss, steps=steps, step=1 / steps, random=False, momentum=momentum)


@listed("no attack: the image itself", sees="none", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Clean(NativeAttack):
    """No attack: returns the image itself. The first column of every board."""

    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return a copy of x."""
        return torch.clone(x)
