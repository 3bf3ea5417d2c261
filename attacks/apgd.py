"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, algorithm 1): momentum, a step that halves when stalled."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks import losses
from purebench.attacks.best import Best, rows
from purebench.attacks.pgd import at_least_one, random_start, see_scores
from purebench.attacks.view import View
from purebench.norms import NORMS
from purebench.threat import Knowledge, ThreatModel


def checkpoints(steps: int) -> list[int]:
    """The iterations w_j at which the step is reconsidered: p_0 = 0, p_1 = 0.22, then shorter windows (section 3.2)."""
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return [-(-percent * steps // 100) for percent in percents if percent <= 100]


@dataclass
class Run:
    """The state of the images still attacked, one row each."""

    index: Tensor  # [M] which image
    x: Tensor  # [M,C,H,W] the clean image
    point: Tensor  # x^(k)
    before: Tensor  # x^(k-1)
    step: Tensor  # eta, [M]
    loss: Tensor  # f(x^(k)), [M]
    top: Tensor  # f_max, [M]
    top_point: Tensor  # x_max
    top_gradient: Tensor  # gradient at x_max
    gradient: Tensor  # gradient at x^(k)
    increases: Tensor  # steps since the last checkpoint that raised the loss, [M]
    step_kept: Tensor  # whether eta was kept at the last checkpoint, [M]
    top_then: Tensor  # f_max at the last checkpoint, [M]

    def keep(self, mask: Tensor) -> None:
        """Drops the rows of images that are done."""
        if not bool(mask.all()):
            for entry in fields(self):
                setattr(self, entry.name, getattr(self, entry.name)[mask])


@dataclass(frozen=True, kw_only=True)
class APGD:
    """APGD on any loss, in any norm, through any view.

    steps: gradients an image and restart; rho: share of steps that must raise the loss for the step to stay.
    """

    loss: str = "ce"
    steps: int = 100
    restarts: int = 1
    rho: float = 0.75
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        losses.find(self.loss)
        at_least_one(steps=self.steps, restarts=self.restarts)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """The best point found of each image."""
        best = Best(view, x, y)
        see_scores(view, best, torch.arange(len(x), device=x.device), x, losses.find(self.loss))
        for _ in range(self.restarts):
            index = best.open.nonzero().squeeze(1)
            if len(index):
                self._run(view, x[index], index, threat, best)
                best.settle()
        return best.points()

    def _run(self, view: View, x: Tensor, index: Tensor, threat: ThreatModel, best: Best) -> None:
        loss, direction = losses.find(self.loss), NORMS[threat.norm].direction
        marks = checkpoints(self.steps)
        state = self._start(view, x, index, threat, best)
        for k in range(1, self.steps + 1):
            if not len(state.index):
                return
            momentum = 0.75 if k > 1 else 1.0
            ahead = threat.project(state.point + rows(state.step, x) * direction(state.gradient), state.x)
            move = momentum * (ahead - state.point) + (1 - momentum) * (state.point - state.before)
            state.before, state.point = state.point, threat.project(state.point + move, state.x)
            if k == self.steps:
                return see_scores(view, best, state.index, state.point, loss)
            look = view.look(state.point, best.y[state.index], loss)
            stay = best.see(state.index, state.point, look.loss, look.logits)
            state.increases += look.loss > state.loss
            state.loss, state.gradient = look.loss, look.gradient
            higher = look.loss > state.top
            state.top = torch.where(higher, look.loss, state.top)
            state.top_point = torch.where(rows(higher, x), state.point, state.top_point)
            state.top_gradient = torch.where(rows(higher, x), look.gradient, state.top_gradient)
            state.keep(stay)
            if k in marks:
                self._reconsider(state, k - marks[marks.index(k) - 1], back=not view.random)

    def _start(self, view: View, x: Tensor, index: Tensor, threat: ThreatModel, best: Best) -> Run:
        point = random_start(x, threat)
        look = view.look(point, best.y[index], losses.find(self.loss))
        stay = best.see(index, point, look.loss, look.logits)
        eta = torch.full_like(look.loss, 2 * threat.radius)
        state = Run(
            index=index,
            x=x,
            point=point,
            before=point,
            step=eta,
            loss=look.loss,
            top=look.loss,
            top_point=point,
            top_gradient=look.gradient,
            gradient=look.gradient,
            increases=torch.zeros_like(eta),
            step_kept=torch.zeros_like(eta, dtype=torch.bool),
            top_then=look.loss,
        )
        state.keep(stay)
        return state

    def _reconsider(self, state: Run, window: int, *, back: bool) -> None:
        """Conditions 1 and 2 of section 3.2: halve eta and go back to x_max where progress stalled.

        Where the loss is random, x_max is where it was lucky, and the run stays where it is (back is False).
        """
        few = state.increases < self.rho * window
        stuck = state.step_kept & (state.top_then >= state.top)
        halve = few | stuck
        state.step = torch.where(halve, state.step / 2, state.step)
        state.step_kept, state.top_then = ~halve, state.top
        state.increases = torch.zeros_like(state.increases)
        if back:
            wide = rows(halve, state.point)
            state.point = torch.where(wide, state.top_point, state.point)
            state.before = torch.where(wide, state.point, state.before)
            state.gradient = torch.where(wide, state.top_gradient, state.gradient)
            state.loss = torch.where(halve, state.top, state.loss)
