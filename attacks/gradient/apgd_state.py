"""Where an Auto-PGD run stands, and what a rule of steps does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.views.view import Look
from purebench.core.threat import ThreatModel


@dataclass
class Run:
    """The state of the images still attacked, one row each; named as in algorithm 1 of Croce & Hein 2020."""

    index: Tensor  # [M] which image
    x: Tensor  # [M,C,H,W] the clean image
    aims: Tensor  # labels, [M] or [M,2]
    point: Tensor  # x^(k)
    before: Tensor  # x^(k-1)
    step: Tensor  # eta, [M]
    loss: Tensor  # f(x^(k)), [M]
    top: Tensor  # f_max, [M]
    top_point: Tensor  # x_max
    top_gradient: Tensor  # gradient at x_max
    gradient: Tensor  # gradient at x^(k)
    heading: Tensor  # random views: the gradients accumulated so far
    increases: Tensor  # steps since the last checkpoint that raised the loss, [M]
    step_kept: Tensor  # whether eta was kept at the last checkpoint, [M]
    top_then: Tensor  # f_max at the last checkpoint, [M]
    share: Tensor  # l1: share of the components that a step moves, [M]
    moved_then: Tensor  # l1: components in which x_max differed from x at the last checkpoint, [M]
    threat: ThreatModel
    project: Callable[[Tensor], Tensor]  # P_S, onto the threat model around x

    @classmethod
    def begin(
        cls, index: Tensor, x: Tensor, aims: Tensor, point: Tensor, look: Look, threat: ThreatModel, first: float
    ) -> Run:
        """Before the first move, whose step is `first`."""
        flat = torch.zeros_like(look.loss)
        return cls(
            index=index,
            x=x,
            aims=aims,
            point=point,
            before=point,
            step=flat + first,
            loss=look.loss,
            top=look.loss,
            top_point=point,
            top_gradient=look.gradient,
            gradient=look.gradient,
            heading=torch.zeros_like(point),
            increases=flat,
            step_kept=torch.zeros_like(flat, dtype=torch.bool),
            top_then=look.loss,
            share=flat,
            moved_then=flat,
            threat=threat,
            project=threat.around(x),
        )

    def keep(self, mask: Tensor) -> None:
        """Drops the rows of images that are done."""
        if not bool(mask.all()):
            for entry in fields(self):
                value = getattr(self, entry.name)
                if isinstance(value, Tensor):
                    setattr(self, entry.name, value[mask])
            self.project = self.threat.around(self.x)

    def see(self, look: Look, *, back: bool) -> None:
        """Takes note of a look at `point`; x_max is followed only if the run may go back to it."""
        self.increases = self.increases + (look.loss > self.loss)
        self.loss, self.gradient = look.loss, look.gradient
        higher = look.loss > self.top
        self.top = torch.maximum(self.top, look.loss)
        if back and bool(higher.any()):
            wide = rows(higher, self.point)
            self.top_point = torch.where(wide, self.point, self.top_point)
            self.top_gradient = torch.where(wide, look.gradient, self.top_gradient)
        elif not back:
            self.top_point, self.top_gradient = self.point, look.gradient

    def go_back(self, mask: Tensor) -> None:
        """To x_max, the images of the mask [M]."""
        wide = rows(mask, self.point)
        self.point = torch.where(wide, self.top_point, self.point)
        self.before = torch.where(wide, self.point, self.before)
        self.gradient = torch.where(wide, self.top_gradient, self.gradient)
        self.loss = torch.where(mask, self.top, self.loss)


class Steps(Protocol):
    """How a run moves, and when its step changes."""

    first: float
    """The first step, in the units of x."""

    def move(self, run: Run, k: int) -> Tensor:
        """x^(k) for the k-th move, inside the threat model."""

    def reconsider(self, run: Run, k: int, *, back: bool) -> None:
        """After the look at x^(k): the step, and whether to go back to x_max (only if `back`)."""
