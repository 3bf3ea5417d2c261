"""Keeps the best point that an attack has found for each image, and decides which images need no further attack.

A deterministic defense is broken at the first misclassification, and the image is done. A random one may be wrong by
chance: an image is done only when it was wrong on every draw of several evaluations in a row and on as many fresh draws
after them. For the others the last point of the run is returned: the point that looked best on the way was mostly
lucky, and replaces the last one only if it is clearly better on fresh draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.attacks.views.view import View
from purebench.core.defense import Frozen
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import WarningCode

FRESH = 8
"""Fresh draws that decide between the candidates of an image."""
EARNED = 32
"""Draws in a row, and fresh draws after them, that must all be wrong before an image is done. An image that is
classified correctly on 5 % of its draws passes such a test with probability 0.95^64 = 4 %. Also the fresh draws of each
point if a run seems better than those before it."""
TIE = 1e-3
"""Share of the logits' range below which two classes tie."""
UNLIKE = "the defense answers differently while gradients are computed, so they mislead attacks"
CLEARLY = 2
"""By how many of FRESH draws the luckiest point must beat the last: one standard error of a difference of 0."""


def rows(mask: Tensor, values: Tensor) -> Tensor:
    """Reshape a mask [N] so that it broadcasts against values [N,…]."""
    return mask.view(-1, *[1] * (values.ndim - 1))


def first_rows(index: Tensor) -> Tensor:
    """Return which rows are the first ones of their image, bool [M].

    Args:
        index: Which image each row belongs to, [M].
    """
    ordered, order = index.sort(stable=True)
    first = torch.ones_like(index, dtype=torch.bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first


def refuse_fixed_layout(view: View) -> None:
    """Refuse a frozen defense whose noise depends on the layout of the batch, for attacks whose images leave it.

    Raises:
        PurebenchError: If the defense is frozen with another size than 1.
    """
    if isinstance(view.defense, Frozen) and view.defense.size != 1:
        raise PurebenchError(
            "expected a frozen defense whose noise does not depend on the layout of the batch, because broken images "
            f"leave it, but got size={view.defense.size}; use frozen(defense, seed, size=1), or the attack "
            "known-randomness on the random defense."
        )


class Best:
    """Best points of an attack on images x [N,C,H,W] with labels y [N] through a view.

    Call `see` after every evaluation of a run, and `settle` with the last points of the run. On a view that is not
    random an image may have several rows, those of several runs; a broken image leaves with all of them.

    Attributes:
        view: The view that is attacked.
        y: Labels [N].
        decides: Whether an image is done as soon as it is broken (`stop`, and the view decides). Otherwise it is
            attacked to the end, and the largest loss decides.
        lucky: Whether a misclassification may be due to chance.
        open: Images that are still attacked, bool [N].
        found: Best point of each image, [N,C,H,W].
        top: Largest loss of each image, [N].

    Raises:
        PurebenchError: If broken images would leave the batch of a frozen defense whose noise depends on its layout.
    """

    def __init__(self, view: View, x: Tensor, y: Tensor, *, stop: bool = True):
        self.view, self.y = view, y
        self.decides = view.decides and stop
        if self.decides:
            refuse_fixed_layout(view)
        self.lucky = view.random and self.decides  # a misclassification may be due to chance
        self.open = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.found = x.clone()
        self.top = torch.full((len(x),), -torch.inf, device=x.device)
        if self.lucky:
            self.fewest = x.clone()
            self.right, self.found_right = torch.full_like(self.top, torch.inf), torch.full_like(self.top, torch.inf)
            self.wrong_draws = torch.zeros_like(self.top)

    def see(self, index: Tensor, points: Tensor, loss: Tensor, logits: Tensor, *, scored: bool = False) -> Tensor:
        """Record an evaluation of some points.

        Args:
            index: Which images the points belong to, [M].
            points: The points [M,C,H,W] in [0,1].
            loss: Loss at the points, [M].
            logits: Logits at the points, [M,draws,K].
            scored: Whether the logits come from `View.scores`, rather than from a pass with gradients, which may have a
                lower precision or give other answers.

        Returns:
            Which of these images need further attack, bool [M].
        """
        if self.view.counters is not None:
            self.view.counters.see(index, logits, self.y[index])
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
            taken = broken.nonzero().squeeze(1)
            taken = taken[first_rows(index[taken])]
            self.found[index[taken]] = points[taken]
            self.open[index[taken]] = False
        return self.open[index]

    def _wrong_again(self, points: Tensor, index: Tensor) -> Tensor:
        """Return which images are wrong without gradients too, bool [M]; a coarse pass may err at a tie."""
        scores = self.view.scores(points)[:, 0]
        right = scores.argmax(1) == self.y[index]
        first, second = scores.topk(2, dim=1).values.unbind(1)
        clear = first - second > TIE * (first - scores.amin(1))
        if self.view.precision == "float32" and bool((right & clear).any()):
            self.view.warn(WarningCode.GRADIENT_MODE, UNLIKE)
        return ~right

    def _see_draws(self, index: Tensor, points: Tensor, loss: Tensor, right: Tensor, draws: int) -> Tensor:
        """Keep the point with the fewest right draws (of equals, the largest loss); return which images are broken."""
        fewer = (right < self.right[index]) | ((right == self.right[index]) & (loss > self.top[index]))
        better = index[fewer]
        self.fewest[better], self.right[better] = points[fewer], right[fewer]
        self.top[better] = loss[fewer].to(self.top)
        self.wrong_draws[index] = torch.where(right == 0, self.wrong_draws[index] + draws, 0)
        asked = self.wrong_draws[index] >= EARNED
        if not bool(asked.any()):
            return asked
        broken = asked.clone()
        broken[asked] = self._fresh(points[asked], index[asked], EARNED) == 0
        self.wrong_draws[index[asked & ~broken]] = 0
        return broken

    def _fresh(self, points: Tensor, index: Tensor, draws: int = FRESH) -> Tensor:
        """Return how many of that many new draws are right at `points` [M,C,H,W], the images at `index`; [M].

        The draws have the view's precision, because its errors are small beside the randomness of the defense.
        """
        return (self.view.scores(points, draws, coarse=True).argmax(2) == self.y[index, None]).sum(1)

    def settle(self, index: Tensor, points: Tensor, loss: Tensor) -> None:
        """End a run, which a restart may follow.

        The larger loss of the runs decides; on a random defense, fresh draws decide: a run that seems better than those
        before it is compared with the best of them on more draws.

        Args:
            index: Which images the points belong to, [M].
            points: Last points of the run, [M,C,H,W].
            loss: Loss at these points, [M].
        """
        if not len(index):
            return
        if not self.lucky:
            better = (loss > self.top[index]).nonzero().squeeze(1)
            better = better[loss[better].argsort(descending=True, stable=True)]
            better = better[first_rows(index[better])]
            self.found[index[better]], self.top[index[better]] = points[better], loss[better].to(self.top)
            return
        last, fewest = self._fresh(points, index), self._fresh(self.fewest[index], index)
        lucky = fewest <= last - CLEARLY
        point, right = torch.where(rows(lucky, points), self.fewest[index], points), torch.where(lucky, fewest, last)
        better = right < self.found_right[index]
        duel = better & (self.found_right[index] < torch.inf)
        if bool(duel.any()):
            better[duel] = self._wins(point[duel], index[duel])
        first = better & ~duel
        self.found[index[better]], self.found_right[index[first]] = point[better], right[first].float()
        self.right[index], self.top[index], self.wrong_draws[index] = torch.inf, -torch.inf, 0

    def _wins(self, points: Tensor, index: Tensor) -> Tensor:
        """Return where a point is better than the best point of the runs before it, on many fresh draws of both, [M].

        The least count of FRESH draws of several runs is mostly luck. `found_right` becomes the winner's count.
        """
        new, old = self._fresh(points, index, EARNED), self._fresh(self.found[index], index, EARNED)
        self.found_right[index] = torch.minimum(new, old) * (FRESH / EARNED)
        return new < old

    def points(self) -> Tensor:
        """Return the best point of each image, [N,C,H,W]."""
        return self.found
