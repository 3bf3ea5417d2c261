"""Defines the state of an Auto-PGD run and the interface of its rules of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.views.look import Look
from purebench.core.threat import ThreatModel


@dataclass
class RunState:
    """The state of the images still attacked, one row each; named as in algorithm 1 of Croce & Hein 2020.

    Attributes:
        index: Which image, [M].
        x: The clean image, [M,C,H,W].
        aims: Labels, [M] or [M,2].
        point: x^(k), [M,C,H,W].
        before: x^(k-1), [M,C,H,W].
        step: eta, [M].
        loss: f(x^(k)), [M].
        top: f_max, [M].
        top_point: x_max, [M,C,H,W].
        top_gradient: Gradient at x_max, [M,C,H,W].
        gradient: Gradient at x^(k), [M,C,H,W].
        heading: Random views: the gradients accumulated so far, [M,C,H,W].
        increases: Steps since the last checkpoint that increased the loss, [M].
        step_kept: Whether eta was kept at the last checkpoint, [M].
        top_then: f_max at the last checkpoint, [M].
        share: l1: share of the components that a step changes, [M].
        moved_then: l1: components in which x_max differed from x at the last checkpoint, [M].
        threat: The threat model.
        project: P_S, the projection onto the threat model around x.
    """

    index: Tensor
    x: Tensor
    aims: Tensor
    point: Tensor
    before: Tensor
    step: Tensor
    loss: Tensor
    top: Tensor
    top_point: Tensor
    top_gradient: Tensor
    gradient: Tensor
    heading: Tensor
    increases: Tensor
    step_kept: Tensor
    top_then: Tensor
    share: Tensor
    moved_then: Tensor
    threat: ThreatModel
    project: Callable[[Tensor], Tensor]

    @classmethod
    def begin(
        cls, index: Tensor, x: Tensor, aims: Tensor, point: Tensor, look: Look, threat: ThreatModel, first: float
    ) -> RunState:
        """Return the state before the first move.

        Args:
            index: Which image, [M].
            x: The clean images, [M,C,H,W].
            aims: Labels, [M] or [M,2].
            point: The starting points, [M,C,H,W].
            look: The evaluation at the starting points.
            threat: The threat model.
            first: First step size, in the units of x.
        """
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
        """Keep the rows where the mask [M] is True, and drop those of images that are done."""
        if not bool(mask.all()):
            for entry in fields(self):
                value = getattr(self, entry.name)
                if isinstance(value, Tensor):
                    setattr(self, entry.name, value[mask])
            self.project = self.threat.around(self.x)

    def see(self, look: Look, *, back: bool) -> None:
        """Record an evaluation at `point`.

        Args:
            look: The evaluation.
            back: Whether the run may go back to x_max. Otherwise x_max is not tracked: it is the current point.
        """
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
        """Go back to x_max where the mask [M] is True."""
        wide = rows(mask, self.point)
        self.point = torch.where(wide, self.top_point, self.point)
        self.before = torch.where(wide, self.point, self.before)
        self.gradient = torch.where(wide, self.top_gradient, self.gradient)
        self.loss = torch.where(mask, self.top, self.loss)


class Steps(Protocol):
    """Rule that defines how a run moves and when its step size changes."""

    first: float
    """First step size, in the units of x."""

    def move(self, run: RunState, k: int) -> Tensor:
        """Return x^(k) for the k-th move, inside the threat model."""

    def reconsider(self, run: RunState, k: int, *, back: bool) -> None:
        """Update the step size after the evaluation at x^(k).

        Args:
            run: The state of the run.
            k: Number of the move.
            back: Whether the run may also go back to x_max.
        """
