"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, algorithm 1): momentum, and a step that is halved without progress.

There is one loop; a rule of steps defines the move and the step size: `Momentum` here for linf and l2, `SparseSteps` in
apgd_l1.py for l1, `Annealed` in apgd_random.py for views that are random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd_l1 import WIDER, SparseSteps
from purebench.attacks.gradient.apgd_random import Annealed
from purebench.attacks.gradient.apgd_state import RunState, Steps
from purebench.attacks.gradient.pgd import see_scores
from purebench.attacks.gradient.runs import Wave, waves
from purebench.attacks.gradient.targets import aims_of_runs, clean_scores
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.look import Loss
from purebench.attacks.views.view import View
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, CountOrZero, Share
from purebench.core.threat import Knowledge, ThreatModel


def checkpoints(steps: int) -> list[int]:
    """Return the iterations w_j at which the step is reconsidered: p_0 = 0, p_1 = 0.22, then shorter (section 3.2).

    Args:
        steps: Number of steps of the run.
    """
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return [-(-percent * steps // 100) for percent in percents if percent <= 100]


class Momentum:
    """Rule of steps for linf and l2 (algorithm 1).

    Attributes:
        rho: Share of steps that must increase the loss for the step size to stay.
        marks: Checkpoints, as iterations.
        direction: Steepest-ascent direction of the norm.
        first: First step size, twice the radius.
    """

    def __init__(self, threat: ThreatModel, steps: int, rho: float):
        self.rho, self.marks = rho, checkpoints(steps)
        self.direction, self.first = NORMS[threat.norm].direction, 2 * threat.radius

    def move(self, run: RunState, k: int) -> Tensor:
        """Return x^(k): 3/4 of a projected step along the gradient plus 1/4 of the last move, projected.

        At k = 1 it is the whole projected step.
        """
        ahead = run.project(self.direction(run.gradient).mul_(rows(run.step, run.x)).add_(run.point))
        if k == 1:
            return ahead
        return run.project(ahead.mul_(0.75).add_(run.point, alpha=0.5).add_(run.before, alpha=-0.25))

    def reconsider(self, run: RunState, k: int, *, back: bool) -> None:
        """Halve eta and go back to x_max where there is no progress, by conditions 1 and 2 of section 3.2."""
        if k not in self.marks[1:]:
            return
        window = k - self.marks[self.marks.index(k) - 1]
        few = run.increases < self.rho * window
        stuck = run.step_kept & (run.top_then >= run.top)
        halve = few | stuck
        run.step = torch.where(halve, run.step / 2, run.step)
        run.step_kept, run.top_then = ~halve, run.top
        run.increases = torch.zeros_like(run.increases)
        if back:
            run.go_back(halve)


@listed("Auto-PGD: halves its step where the loss stalls", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class APGD(NativeAttack):
    """Auto-PGD with any loss, in any norm, in any gradient mode.

    On random defenses, where a noisy loss always seems to stall, the step is annealed along a momentum of the gradients
    instead of being halved (`apgd_random`).

    In l1 the steps are sparse, and the first 60 % of them are taken in balls of three and two times the radius.

    Attributes:
        loss: Name of the loss.
        steps: Gradients per image and run.
        restarts: Number of runs, for each target class if there are any.
        targets: Number of target classes, the most likely wrong ones at the clean image first, each with a targeted
            loss and a run of its own; 0 for an untargeted attack.
        rho: Share of steps that must increase the loss for the step size to stay (linf and l2, deterministic defenses).
        stop: Whether an image is done at its first misclassified point. Otherwise all steps are taken and the point
            with the largest loss is returned (for images that are to transfer to other defenses).
    """

    loss: str = "ce"
    steps: Count = 100
    restarts: Count = 1
    targets: CountOrZero = 0
    rho: Share = 0.75
    stop: bool = True
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.find(self.loss, targeted=self.targets > 0)

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.
        """
        best, everyone = Best(view, x, y, stop=self.stop), torch.arange(len(x), device=x.device)
        logits = clean_scores(view, x, self.targets)
        best.see(everyone, x, torch.full((len(x),), -torch.inf, device=x.device), logits, scored=True)
        for wave in waves(view, best, x, aims_of_runs(logits, y, self.targets) * self.restarts):
            self._run(view, wave, threat, best)
        return best.points()

    def _run(self, view: View, wave: Wave, threat: ThreatModel, best: Best) -> None:
        start = view.start[wave.index] if view.start is not None and wave.first else None
        left = self.steps
        for factor, share in WIDER if threat.norm == "l1" else ():
            wider, steps = replace(threat, radius=factor * threat.radius), int(share * self.steps)
            if steps:
                start, left = self._climb(view, wave, wider, steps, start).top_point, left - steps
        run = self._climb(view, wave, threat, left, start, best)
        if not len(run.index):
            return
        if best.lucky:
            return best.settle(run.index, run.point, run.loss)
        value, stay = see_scores(view, best, run.index, run.point, aimed(self._loss, run.aims))
        if view.random:  # the largest loss on the way is mostly due to chance
            return best.settle(run.index[stay], run.point[stay], value[stay])
        higher = value > run.top
        point = torch.where(rows(higher, run.x), run.point, run.top_point)
        best.settle(run.index[stay], point[stay], torch.maximum(value, run.top)[stay])

    @property
    def _loss(self) -> Loss:
        return losses.find(self.loss, targeted=self.targets > 0)

    def _rule(self, threat: ThreatModel, steps: int, start: Tensor | None, random: bool) -> Steps:
        if threat.norm == "l1":
            return SparseSteps(threat, steps, start)
        return Annealed(threat, steps) if random else Momentum(threat, steps, self.rho)

    def _climb(
        self,
        view: View,
        wave: Wave,
        threat: ThreatModel,
        steps: int,
        start: Tensor | None,
        best: Best | None = None,
    ) -> RunState:
        """Run the loop from `start` or random points; broken images leave if `best` is given.

        The last point is not evaluated.
        """
        loss = self._loss
        rule = self._rule(threat, steps, start, view.random)
        point = wave.random_start(threat) if start is None else threat.project(start, wave.x)
        look = view.look(point, wave.aims, loss)
        run = RunState.begin(wave.index, wave.x, wave.aims, point, look, threat, rule.first)
        if best is not None:
            run.keep(best.see(wave.index, point, look.loss, look.logits))
        for k in range(1, steps + 1):
            if not len(run.index):
                break
            run.before, run.point = run.point, rule.move(run, k)
            if k == steps:
                break
            look = view.look(run.point, run.aims, loss)
            run.see(look, back=not view.random)
            if best is not None:
                run.keep(best.see(run.index, run.point, look.loss, look.logits))
            rule.reconsider(run, k, back=not view.random)
        return run


def aimed(loss: Loss, aims: Tensor) -> Loss:
    """Return a loss with fixed labels [M] or [M,2], each repeated for the draws of its image."""
    return lambda logits, _: loss(logits, aims.repeat_interleave(len(logits) // len(aims), 0))


@listed("Auto-PGD towards each likely class in turn", sees="white-box", bounded=True)
def apgd_t(*, loss: str = "dlr", targets: int = 9, steps: int = 100, restarts: int = 1) -> APGD:
    """Return APGD targeted at each of the most likely wrong classes, by default with the targeted DLR loss.

    See Croce & Hein 2020, section 5.

    Args:
        loss: Name of the targeted loss.
        targets: Number of target classes.
        steps: Gradients per image and run.
        restarts: Number of runs per target class.
    """
    return APGD(loss=loss, targets=targets, steps=steps, restarts=restarts)
