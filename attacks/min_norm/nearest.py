"""The nearest adversarial image that a minimum-norm attack has seen of each image, believed only when asked again.

A deterministic defense is asked once: a wrong answer counts. The wrong answer of a random one may be luck, and of
hundreds of points the nearest would be the luckiest. Here a point counts if at most 30 % of the look's draws and of
fresh ones are right, which is stricter than the half at which an image is called broken. What is kept at the end is
asked once more, on more draws, moved outwards where it does not hold, and then brought towards the image as far as it
stays adversarial. A view that does not decide (`blind`) is asked for its own opinion: it has no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.gradient.losses import margin
from purebench.attacks.views.view import View
from purebench.core.norms import NORMS
from purebench.core.protocols import Answer

ALLOWED = 0.3
"""Share of draws that may be right at a point that counts as adversarial."""


@dataclass(frozen=True, kw_only=True)
class Care:
    """How often a defense is asked before a point counts.

    passing, final: fresh draws at a point on the way and at the end, lot by lot, the next only where the last held.
    worth: a point is asked about if it is nearer than this share of the kept distance. outwards: the share by which a
    point that does not hold in the end moves away from its image, doubled each time; times: how often. halvings: of the
    way from the image to the point that is kept.
    """

    passing: tuple[int, ...]
    final: tuple[int, ...]
    worth: float
    outwards: float
    times: int
    halvings: int


DETERMINISTIC = Care(passing=(), final=(1,), worth=1.0, outwards=0.001, times=10, halvings=10)
COARSE = replace(DETERMINISTIC, passing=(1,))  # a look in bf16 is believed only when a pass in float32 says the same
RANDOM = Care(passing=(4, 12, 48), final=(16, 48), worth=0.95, outwards=0.02, times=6, halvings=5)


class Nearest:
    """Watches a minimum-norm attack on images x [N,C,H,W] with labels y [N] through a view; distances in `norm`.

    confidence: by how much another logit must lead. found: the nearest adversarial images, [N,C,H,W]; distance: theirs,
    [N], 0 where the image itself is wrong, infinite where none was found. sure, sure_distance: the same at the end of
    the last run that held. clean: the draws' mean logits of x, [N,K].
    """

    def __init__(self, view: View, x: Tensor, y: Tensor, norm: str, confidence: float = 0.0):
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
        """The images that are not wrong as they are, their places [M]."""
        return self.distance.nonzero().squeeze(1)

    def see(self, index: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        """Takes note of `points` [M,C,H,W] in [0,1], the images at `index`; which count as adversarial, bool [M].

        logits: of a look at them, [M,draws,K]. Fresh draws are spent only on points nearer than the kept ones.
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
        """Ends a run that another follows: what it found is asked again; where it does not hold, bool [N].

        There, what held at the end of an earlier run is kept instead, if anything did. Elsewhere the point is brought
        nearer, so that the next run has that to beat (on a random defense, where it costs many draws, only at the end).
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
        """The nearest points, asked again and brought nearer; the image itself where none was found."""
        index = ((self.distance > 0) & (self.distance < torch.inf)).nonzero().squeeze(1)
        self._confirm(index)
        self._approach(index[self.distance[index] < torch.inf])
        return Answer(self.found, nearest=True, claims=self.distance < torch.inf)

    def _confirm(self, index: Tensor) -> None:
        """Moves the points at `index` that do not hold outwards; where even that fails, the last that held is kept."""
        left = index
        for k in range(self.care.times + 1):
            left = left[~self._again(self.found[left], left, self.care.final)]
            if not len(left):
                return
            delta = self.found[left] - self.x[left]
            self.found[left] = (self.x[left] + (1 + self.care.outwards * 2**k) * delta).clamp(0, 1)
        self.found[left], self.distance[left] = self.sure[left], self.sure_distance[left]

    def _approach(self, index: Tensor) -> None:
        """Bisects between the images at `index`, which are right, and their points, which are wrong."""
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
        """Whether points [M,C,H,W] are adversarial in each lot of fresh draws, bool [M]."""
        left = torch.arange(len(points), device=points.device)
        for draws in lots:
            if len(left):
                left = left[self._wrong(index[left], self.view.scores(points[left], draws))]
        return torch.zeros(len(points), dtype=torch.bool, device=points.device).index_fill(0, left, True)

    def _wrong(self, index: Tensor, logits: Tensor) -> Tensor:
        """Whether few enough draws are right, bool [M], for logits [M,draws,K] of the images at `index`."""
        labels = self.y[index].repeat_interleave(logits.shape[1])
        flat = logits.flatten(0, 1)
        wrong = (flat.argmax(1) != labels) & (margin(flat, labels) >= self.confidence)
        return (~wrong).view(logits.shape[:2]).float().mean(1) <= ALLOWED
