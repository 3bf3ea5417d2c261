"""Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) on growing numbers of images, and compositions.

All candidates run on a few images, the best third on twice as many, and so on. The same first images are used for all
candidates, so that they are compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from purebench.attack_search.candidate import AttackCandidate, joined

Floats = npt.NDArray[np.float64]
KEEP = 3
"""One of this many candidates goes on to the next rung."""
MOST_PARTS = 3
"""Largest number of candidates in a composition."""


@dataclass(frozen=True)
class Score:
    """The result of a candidate on some dev images.

    Attributes:
        right: Share of right draws of each image, [N]; None if the attack does not apply or failed.
        passes: Purifier passes per image, a backward pass counted twice.
        seconds: Seconds per image.
        why: Why there is no result.
    """

    right: Floats | None
    passes: float
    seconds: float
    why: str = ""

    @property
    def accuracy(self) -> float:
        """Accuracy under the attack; 1 if there is no result."""
        return 1.0 if self.right is None else float(self.right.mean())


class OutOfTime(Exception):
    """The time of the search is over.

    Attributes:
        scores: The scores of the candidates that were finished, by name.
    """

    def __init__(self, scores: Mapping[str, Score]):
        super().__init__("the time of the search is over")
        self.scores = scores


@dataclass
class Halving:
    """The candidates of a search and their scores.

    Attributes:
        rungs: Numbers of images, rising.
        candidates: All candidates that were measured, by name.
        scores: Their scores by number of images.
    """

    rungs: Sequence[int]
    candidates: dict[str, AttackCandidate] = field(default_factory=dict)
    scores: dict[int, dict[str, Score]] = field(default_factory=dict)

    def add(self, candidates: Sequence[AttackCandidate], images: int, scores: Mapping[str, Score]) -> None:
        """Keep the scores of candidates on a number of images."""
        self.candidates |= {one.name: one for one in candidates}
        self.scores.setdefault(images, {}).update(scores)

    def ranked(self, images: int) -> list[AttackCandidate]:
        """Return the candidates with a result on this many images by accuracy, then by cost, in ascending order."""
        scores = self.scores.get(images, {})
        names = [name for name, score in scores.items() if score.right is not None]
        return [self.candidates[name] for name in sorted(names, key=lambda n: (scores[n].accuracy, scores[n].passes))]

    @property
    def best(self) -> tuple[AttackCandidate, int] | None:
        """The strongest candidate on the largest number of images that any was measured on, and that number."""
        for images in reversed(self.rungs):
            if ranked := self.ranked(images):
                return ranked[0], images
        return None


def rungs(images: int, block: int) -> list[int]:
    """Return the numbers of images of the rungs: a block, doubled up to `images`."""
    found = [min(block, images)]
    while found[-1] < images:
        found.append(min(2 * found[-1], images))
    return found


def halve(
    candidates: Sequence[AttackCandidate],
    halving: Halving,
    measure: Callable[[Sequence[AttackCandidate], int], Mapping[str, Score]],
) -> None:
    """Measure candidates on growing numbers of images; the best third at each number goes on to the next.

    Args:
        candidates: The candidates.
        halving: Keeps the scores.
        measure: Returns the scores of candidates on a number of images, by name.

    Raises:
        OutOfTime: If `measure` raises it; the scores that it has are kept.
    """
    left = list(candidates)
    for images in halving.rungs:
        if not left:
            return
        try:
            halving.add(left, images, measure(left, images))
        except OutOfTime as over:
            halving.add([one for one in left if one.name in over.scores], images, over.scores)
            raise
        names = {one.name for one in left}
        ranked = [one for one in halving.ranked(images) if one.name in names]
        left = ranked[: math.ceil(len(left) / KEEP)]


def composition(halving: Halving) -> AttackCandidate | None:
    """Return a sequence of candidates that together break more images than the best one, chosen greedily.

    Their points are compared on fresh draws when it is run, so that its accuracy is about the mean over images of the
    smallest share of right draws.

    Args:
        halving: The scores so far.
    """
    images = halving.rungs[-1]
    ranked, scores = halving.ranked(images), halving.scores.get(images, {})
    if len(ranked) < 2:
        return None
    chosen, least = [ranked[0]], _right(scores[ranked[0].name])
    while len(chosen) < MOST_PARTS:
        gains = {one.name: float((least - np.minimum(least, _right(scores[one.name]))).mean()) for one in ranked}
        name = max(gains, key=lambda n: (gains[n], -scores[n].passes))
        if gains[name] < 0.5 / images:
            break
        chosen.append(halving.candidates[name])
        least = np.minimum(least, _right(scores[name]))
    return None if len(chosen) == 1 else joined(chosen, "composition of the best candidates")


def _right(score: Score) -> Floats:
    assert score.right is not None
    return score.right


def candidate_rows(halving: Halving) -> list[dict[str, Any]]:
    """Return all candidates with their accuracies, the strongest first, as plain values."""
    rows = []
    for name, candidate in halving.candidates.items():
        scores = {images: found[name] for images, found in halving.scores.items() if name in found}
        last = scores[max(scores)]
        rows.append(
            {
                "name": name,
                "attack": [step.plain() for step in candidate.steps],
                "why": candidate.why,
                "dev": {str(images): None if s.right is None else s.accuracy for images, s in scores.items()},
                "passes": last.passes,
                "seconds": last.seconds,
                "failed": last.why,
            }
        )
    return sorted(
        rows, key=lambda row: (-len(row["dev"]), min(v if v is not None else 2.0 for v in row["dev"].values()))
    )
