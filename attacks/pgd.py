"""Projected gradient descent (Madry et al. 2018, arXiv:1706.06083)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks import losses
from purebench.attacks.best import Best
from purebench.attacks.view import Loss, View
from purebench.errors import PurebenchError
from purebench.norms import NORMS
from purebench.threat import Knowledge, ThreatModel


def random_start(x: Tensor, threat: ThreatModel) -> Tensor:
    """A random point of the threat model around x."""
    return threat.project(x + threat.radius * NORMS[threat.norm].random(x), x)


@dataclass(frozen=True, kw_only=True)
class PGD:
    """x ← P(x + step · direction(gradient)), from the image or from random starts.

    steps: gradient steps; step: length of a step as a share of the radius, None for 2.5/steps; restarts: starts;
    random: start at a random point instead of the image.
    """

    loss: str = "ce"
    steps: int = 40
    step: float | None = None
    restarts: int = 1
    random: bool = True
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        losses.find(self.loss)
        at_least_one(steps=self.steps, restarts=self.restarts)
        if self.step is not None and not self.step > 0:
            raise PurebenchError(f"step: expected a share of the radius above 0, but got {self.step!r}.")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """The best point found of each image."""
        loss, direction = losses.find(self.loss), NORMS[threat.norm].direction
        length = threat.radius * (2.5 / self.steps if self.step is None else self.step)
        best = Best(view, x, y)
        see_scores(view, best, torch.arange(len(x), device=x.device), x, loss)
        for _ in range(self.restarts):
            index = best.open.nonzero().squeeze(1)
            if not len(index):
                break
            clean = x[index]
            point = random_start(clean, threat) if self.random else clean
            for _ in range(self.steps):
                if not len(index):
                    break
                look = view.look(point, y[index], loss)
                stay = best.see(index, point, look.loss, look.logits)
                point = threat.project(point + length * direction(look.gradient), clean)
                if not bool(stay.all()):
                    index, clean, point = index[stay], clean[stay], point[stay]
            if len(index):
                see_scores(view, best, index, point, loss)
            best.settle()
        return best.points()


def see_scores(view: View, best: Best, index: Tensor, point: Tensor, loss: Loss) -> None:
    """A look without a gradient at `point`, the images at `index`."""
    logits = view.scores(point)
    labels = best.y[index].repeat_interleave(logits.shape[1])
    value = loss(logits.flatten(0, 1), labels).view(len(index), -1).mean(1)
    best.see(index, point, value, logits)


def at_least_one(**values: int) -> None:
    """Raises PurebenchError for a value that is not a whole number of at least one."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PurebenchError(f"{name}: expected a whole number of at least 1, but got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Clean:
    """No attack: the image itself. Every board's first column."""

    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """A copy of x."""
        return torch.clone(x)
