"""The best point an attack has seen of each image, and which images it may stop attacking.

A deterministic defense is broken at the first wrong answer, and the image leaves. A random one may be wrong by luck: an
image leaves only when it was wrong on every draw of several looks in a row and on as many fresh draws besides. Of the
others the point where the run arrived comes back: the one that looked best on the way was mostly lucky, and takes its
place only if it is clearly better on fresh draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.attacks.views.view import View
from purebench.core.warning_codes import WarningCode

FRESH = 8
"""Fresh draws that decide between the candidates of an image."""
EARNED = 32
"""Draws in a row, and fresh draws after them, that must all be wrong before an image leaves: one that is right on 5 %
of its draws leaves at such a test with a chance of 0.95^64 = 4 %."""
TIE = 1e-3
"""Share of the logits' spread below which two classes tie."""
UNLIKE = "the defense answers differently while gradients are computed, so they mislead attacks"
CLEARLY = 2
"""By how many of FRESH draws the luckiest point must beat the last: one standard error of a difference of 0."""


def rows(mask: Tensor, values: Tensor) -> Tensor:
    """mask [N] shaped to broadcast against values [N,…]."""
    return mask.view(-1, *[1] * (values.ndim - 1))


class Best:
    """Watches an attack on images x [N,C,H,W] with labels y [N] through a view.

    stop: whether an image leaves as soon as it is broken; else it stays to the end, and the largest loss decides.
    open: images still attacked, bool [N]. `see` takes note of every look of a run, `settle` of where it ended.
    """

    def __init__(self, view: View, x: Tensor, y: Tensor, *, stop: bool = True):
        self.view, self.y = view, y
        self.decides = view.decides and stop
        self.lucky = view.random and self.decides  # a wrong answer may be luck
        self.open = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.found = x.clone()
        self.top = torch.full((len(x),), -torch.inf, device=x.device)
        if self.lucky:
            self.fewest = x.clone()
            self.right, self.found_right = torch.full_like(self.top, torch.inf), torch.full_like(self.top, torch.inf)
            self.wrong_draws = torch.zeros_like(self.top)

    def see(self, index: Tensor, points: Tensor, loss: Tensor, logits: Tensor, *, scored: bool = False) -> Tensor:
        """Takes note of a look at `points` [M,C,H,W], the images at `index` [M]; which of them stay, bool [M].

        loss: [M]; logits: [M,draws,K]; scored: they come from `View.scores`, not from a pass with gradients, which may
        be coarse, through a folded copy, or answered otherwise.
        """
        if self.lucky:
            right = (logits.argmax(2) == self.y[index, None]).float().mean(1)
            broken = self._see_draws(index, points, loss, right, logits.shape[1])
        elif self.decides:
            broken = (logits.argmax(2) != self.y[index, None]).all(1)
            if not scored and bool(broken.any()):
                broken[broken.clone()] = self._wrong_again(points[broken], index[broken])
        else:
            return torch.ones_like(index, dtype=torch.bool)
        if bool(broken.any()):
            self.found[index[broken]] = points[broken]
            self.open[index[broken]] = False
        return ~broken

    def _wrong_again(self, points: Tensor, index: Tensor) -> Tensor:
        """Which images are wrong without gradients too, bool [M]; a folded or coarse pass may have erred at a tie."""
        scores = self.view.scores(points)[:, 0]
        right = scores.argmax(1) == self.y[index]
        first, second = scores.topk(2, dim=1).values.unbind(1)
        clear = first - second > TIE * (first - scores.amin(1))
        if self.view.precision == "float32" and bool((right & clear).any()):
            self.view.warn(WarningCode.GRADIENT_MODE, UNLIKE)
        return ~right

    def _see_draws(self, index: Tensor, points: Tensor, loss: Tensor, right: Tensor, draws: int) -> Tensor:
        """Keeps the point with the fewest right draws (the largest loss among equals); which images are broken."""
        fewer = (right < self.right[index]) | ((right == self.right[index]) & (loss > self.top[index]))
        better = index[fewer]
        self.fewest[better], self.right[better], self.top[better] = points[fewer], right[fewer], loss[fewer]
        self.wrong_draws[index] = torch.where(right == 0, self.wrong_draws[index] + draws, 0)
        asked = self.wrong_draws[index] >= EARNED
        if not bool(asked.any()):
            return asked
        broken = asked.clone()
        broken[asked] = self._fresh(points[asked], index[asked], EARNED) == 0
        self.wrong_draws[index[asked & ~broken]] = 0
        return broken

    def _fresh(self, points: Tensor, index: Tensor, draws: int = FRESH) -> Tensor:
        """How many of that many new draws are right at `points` [M,C,H,W], the images at `index`, [M]."""
        return (self.view.scores(points, draws).argmax(2) == self.y[index, None]).sum(1)

    def settle(self, index: Tensor, points: Tensor, loss: Tensor) -> None:
        """Ends a run, which a restart may follow: where the images at `index` [M] ended, with the loss there [M].

        The larger loss of the runs decides; on a random defense, fresh draws do.
        """
        if not len(index):
            return
        if not self.lucky:
            better = loss > self.top[index]
            self.found[index[better]], self.top[index[better]] = points[better], loss[better]
            return
        last, fewest = self._fresh(points, index), self._fresh(self.fewest[index], index)
        lucky = fewest <= last - CLEARLY
        point, right = torch.where(rows(lucky, points), self.fewest[index], points), torch.where(lucky, fewest, last)
        better = right < self.found_right[index]
        self.found[index[better]], self.found_right[index[better]] = point[better], right[better].float()
        self.right[index], self.top[index], self.wrong_draws[index] = torch.inf, -torch.inf, 0

    def points(self) -> Tensor:
        """The best point of each image, [N,C,H,W]."""
        return self.found
