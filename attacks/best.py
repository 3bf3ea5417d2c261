"""The best point an attack has seen of each image, and which images it may stop attacking.

A deterministic defense is broken at the first wrong answer, and the image leaves. A random one may be wrong by luck: an
image leaves only when it was wrong on every draw of several looks in a row and on fresh draws besides, and at the end
the candidates (largest loss, fewest right draws, last) are compared on fresh draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.attacks.view import View

FRESH = 16
"""Fresh draws that decide between the candidates of an image."""


def rows(mask: Tensor, values: Tensor) -> Tensor:
    """mask [N] shaped to broadcast against values [N,…]."""
    return mask.view(-1, *[1] * (values.ndim - 1))


class Best:
    """Watches an attack on images x [N,C,H,W] with labels y [N] through a view."""

    def __init__(self, view: View, x: Tensor, y: Tensor):
        self.view, self.y = view, y
        self.open = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.by_loss, self.by_right, self.last = x.clone(), x.clone(), x.clone()
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.right = torch.full((len(x),), torch.inf, device=x.device)
        self.tie_loss = self.loss.clone()
        self.wrong_draws = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def see(self, index: Tensor, points: Tensor, loss: Tensor, logits: Tensor) -> Tensor:
        """Takes note of a look at `points` [M,C,H,W], the images at `index` [M]; which of them stay, bool [M].

        loss: [M]; logits: [M,draws,K].
        """
        right = (logits.argmax(2) == self.y[index, None]).float().mean(1)
        better = loss > self.loss[index]
        self.by_loss[index] = torch.where(rows(better, points), points, self.by_loss[index])
        self.loss[index] = torch.maximum(loss, self.loss[index])
        fewer = (right < self.right[index]) | ((right == self.right[index]) & (loss > self.tie_loss[index]))
        self.by_right[index] = torch.where(rows(fewer, points), points, self.by_right[index])
        self.right[index] = torch.where(fewer, right, self.right[index])
        self.tie_loss[index] = torch.where(fewer, loss, self.tie_loss[index])
        self.last[index] = points
        if not self.view.decides:
            return torch.ones_like(better)
        broken = right == 0
        if self.view.random:
            broken = self._earned(index, points, broken, logits.shape[1])
        self.open[index[broken]] = False
        return ~broken

    def _earned(self, index: Tensor, points: Tensor, wrong: Tensor, draws: int) -> Tensor:
        """Whether enough draws in a row were wrong, and fresh ones at this point too."""
        self.wrong_draws[index] = torch.where(wrong, self.wrong_draws[index] + draws, 0)
        asked = self.wrong_draws[index] >= FRESH
        if not bool(asked.any()):
            return asked
        fresh = self.view.scores(points[asked], FRESH).argmax(2) == self.y[index[asked], None]
        earned = asked.clone()
        earned[asked] = ~fresh.any(1)
        self.wrong_draws[index[asked & ~earned]] = 0
        self.by_right[index[earned]] = points[earned]
        return earned

    def points(self) -> Tensor:
        """The best point of each image, [N,C,H,W]."""
        if not self.view.decides:
            return self.by_loss
        if not self.view.random:
            return torch.where(rows(self.right == 0, self.by_right), self.by_right, self.by_loss)
        found = self.by_right.clone()
        index = self.open.nonzero().squeeze(1)
        if not len(index):
            return found
        fewest = torch.full((len(index),), torch.inf, device=found.device)
        for candidates in (self.by_loss, self.by_right, self.last):
            logits = self.view.scores(candidates[index], FRESH)
            labels = self.y[index, None]
            # the mean log-probability of the label breaks ties between equal counts
            chance = logits.log_softmax(2).gather(2, labels[..., None].expand(-1, logits.shape[1], 1)).mean((1, 2))
            score = (logits.argmax(2) == labels).float().mean(1) + 1e-3 * torch.sigmoid(chance)
            found[index] = torch.where(rows(score < fewest, found[index]), candidates[index], found[index])
            fewest = torch.minimum(score, fewest)
        return found
