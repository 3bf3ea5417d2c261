"""Keeps the nearest adversarial example that a minimum-norm attack has found for each image, and confirms it.

A deterministic defense is evaluated once: a misclassification counts. On a random defense a misclassification may be
due to chance, and the nearest of hundreds of points would be the luckiest. There a point counts if at most 30 % of the
attack's draws and of fresh ones are right, which is stricter than the half at which an image is called broken. At the
end the kept point is evaluated once more, on more draws, moved outwards if it is not confirmed, and then moved towards
the image as far as it stays adversarial. A view that does not decide (`blind`) is evaluated through itself, as nothing
else is available.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from purebench.attacks.best import refuse_fixed_layout, rows
from purebench.attacks.gradient.losses import margin
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.norms.norms import NORMS

ALLOWED = 0.3
"""Share of draws that may be right at a point that counts as adversarial."""


@dataclass(frozen=True, kw_only=True)
class Care:
    """Settings for how often a defense is evaluated before a point counts.

    Attributes:
        passing: Numbers of fresh draws at a point on the way; each lot is drawn only if the point held on the one
            before.
        final: The same at the end of a run.
        worth: A point is tested if its distance is below this share of the kept distance.
        outwards: Share by which a point that is not confirmed at the end moves away from its image; doubled each time.
        times: Number of times that it is moved outwards.
        halvings: Bisection steps between the image and the kept point.
    """

    passing: tuple[int, ...]
    final: tuple[int, ...]
    worth: float
    outwards: float
    times: int
    halvings: int


DETERMINISTIC = Care(passing=(), final=(1,), worth=1.0, outwards=0.001, times=10, halvings=10)
COARSE = replace(DETERMINISTIC, passing=(1,))  # an evaluation in bf16 must be confirmed by a pass in float32
RANDOM = Care(passing=(4, 12, 48), final=(16, 48), worth=0.95, outwards=0.02, times=6, halvings=5)


class NearestSearch:
    """Nearest adversarial examples of a minimum-norm attack on images x [N,C,H,W] with labels y [N] through a view.

    Attributes:
        view: The view that is attacked.
        x: The images.
        y: Their labels.
        size: Norm of each perturbation.
        confidence: By how much another logit must exceed the true class's.
        care: Settings for how often the defense is evaluated before a point counts.
        found: The nearest adversarial examples, [N,C,H,W].
        distance: Their distances in the norm, [N]; 0 where the image itself is misclassified, infinite where none was
            found.
        sure: `found` at the end of the last run in which it was confirmed.
        sure_distance: `distance` at the end of the last run in which it was confirmed.
        clean: The draws' mean logits of x, [N,K].
    """

    def __init__(self, view: View, x: Tensor, y: Tensor, norm: str, confidence: float = 0.0):
        refuse_fixed_layout(view)
        self.view, self.x, self.y, self.size, self.confidence = view, x, y, NORMS[norm].size, confidence
        self.care = RANDOM if view.random else DETERMINISTIC if view.precision == "float32" else COARSE
        self.found = x.clone()
        self.distance = torch.full((len(x),), torch.inf, device=x.device)
        logits = view.scores(x)
        self.clean = logits.mean(1)
        index = torch.arange(len(x), device=x.device)
        index = index[self._wrong(index, logits)]
        lots = self.care.final if view.random else ()
        self.distance[index[self._again(x[index], index, lots)]] = 0
        self.sure, self.sure_distance = self.found.clone(), self.distance.clone()

    def open(self) -> Tensor:
        """Return the places [M] of the images that are not misclassified without a perturbation."""
        return self.distance.nonzero().squeeze(1)

    def see(self, index: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        """Record an evaluation of some points.

        Fresh draws are spent only on points nearer than the kept ones.

        Args:
            index: Which images the points belong to, [M].
            points: The points [M,C,H,W] in [0,1].
            logits: Logits at the points, [M,draws,K].

        Returns:
            Which points count as adversarial, bool [M].
        """
        wrong = self._wrong(index, logits)
        size = self.size(points - self.x[index])
        nearer = (wrong & (size < self.care.worth * self.distance[index])).nonzero().squeeze(1)
        holds = self._again(points[nearer], index[nearer], self.care.passing)
        wrong[nearer] = holds
        nearer = nearer[holds]
        self.found[index[nearer]], self.distance[index[nearer]] = points[nearer], size[nearer]
        return wrong

    def settle(self) -> Tensor:
        """End a run that another follows, and confirm what it found.

        Where a point is not confirmed, the one that was confirmed at the end of an earlier run is kept instead, if
        there is one. Elsewhere the point is moved nearer, so that the next run has to improve on that (on a random
        defense, where this costs many draws, only at the end).

        Returns:
            Where the point was not confirmed, bool [N].
        """
        index = (self.distance < self.sure_distance).nonzero().squeeze(1)
        holds = self._again(self.found[index], index, self.care.final)
        held, lost = index[holds], index[~holds]
        if not self.view.random:
            self._approach(held)
        self.sure[held], self.sure_distance[held] = self.found[held], self.distance[held]
        self.found[lost], self.distance[lost] = self.sure[lost], self.sure_distance[lost]
        return torch.zeros_like(self.distance, dtype=torch.bool).index_fill(0, lost, True)

    def answer(self) -> Answer:
        """Return the nearest points, confirmed and moved nearer; the image itself where none was found."""
        index = ((self.distance > 0) & (self.distance < torch.inf)).nonzero().squeeze(1)
        self._confirm(index)
        self._approach(index[self.distance[index] < torch.inf])
        return Answer(self.found, nearest=True, claims=self.distance < torch.inf)

    def _confirm(self, index: Tensor) -> None:
        """Move the points at `index` outwards that are not confirmed; if that fails, keep the last confirmed ones."""
        left = index
        for k in range(self.care.times + 1):
            left = left[~self._again(self.found[left], left, self.care.final)]
            if not len(left):
                return
            delta = self.found[left] - self.x[left]
            self.found[left] = (self.x[left] + (1 + self.care.outwards * 2**k) * delta).clamp(0, 1)
        self.found[left], self.distance[left] = self.sure[left], self.sure_distance[left]

    def _approach(self, index: Tensor) -> None:
        """Bisect between the images at `index`, which are classified correctly, and their points, which are not."""
        x, delta = self.x[index], self.found[index] - self.x[index]
        low, high = torch.zeros_like(self.distance[index]), torch.ones_like(self.distance[index])
        for _ in range(self.care.halvings if len(index) else 0):
            middle = (low + high) / 2
            points = (x + rows(middle, x) * delta).clamp(0, 1)
            wrong = self._again(points, index, self.care.final)
            self.found[index[wrong]] = points[wrong]
            low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        self.distance[index] = self.size(self.found[index] - x)

    def _again(self, points: Tensor, index: Tensor, lots: tuple[int, ...]) -> Tensor:
        """Return whether points [M,C,H,W] are adversarial in each lot of fresh draws, bool [M]."""
        left = torch.arange(len(points), device=points.device)
        for draws in lots:
            if len(left):
                left = left[self._wrong(index[left], self.view.scores(points[left], draws))]
        return torch.zeros(len(points), dtype=torch.bool, device=points.device).index_fill(0, left, True)

    def _wrong(self, index: Tensor, logits: Tensor) -> Tensor:
        """Return whether few enough draws are right, bool [M], for logits [M,draws,K] of the images at `index`."""
        labels = self.y[index].repeat_interleave(logits.shape[1])
        flat = logits.flatten(0, 1)
        wrong = (flat.argmax(1) != labels) & (margin(flat, labels) >= self.confidence)
        return (~wrong).view(logits.shape[:2]).float().mean(1) <= ALLOWED
