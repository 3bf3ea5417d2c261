"""Computes ranks with their uncertainty: on finitely many images the rank on a board is an interval.

The null hypothesis of a pair is that both have equal accuracy at the adversarial examples that were picked for each,
over images of the data set's distribution. It says nothing about the best possible attack: a defense against which the
attacks are weak is ranked too high, and no test on answers can detect that.

All pairs are compared on the same images, and the comparisons that are significant after a step-down correction over
all of them (`romano_wolf`) say which defense is better than which. A defense's rank lies between 1 + the number of
those significantly better than it and J - the number of those significantly worse, for all J defenses at once with the
confidence asked for: Mogstad, Romano, Shaikh & Wilhelm, "Inference for ranks with applications to mobility across
neighbourhoods and academic achievement across countries", Review of Economic Studies 91, 2024 (arXiv:1906.08726).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import require_confidence, require_outcomes
from purebench.statistics.multiplicity import holm, romano_wolf
from purebench.statistics.ranking.skewness import GUARD_SHARE, guard_p_values
from purebench.statistics.sequential.anytime import anytime_p_values
from purebench.statistics.signs import RESAMPLES

Floats = npt.NDArray[np.float64]

_AT_ONCE = 250_000  # resampled images at a time, which fit into the cache of a processor core

_MANY = 2_000
"""From this number of images on, resamples are drawn image by image: for few images the multinomial counts, which
earlier versions drew, keep the numbers of boards that were published."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks of J defenses; tuples are in the order in which the defenses were given.

    Attributes:
        low: The best rank that each may have, 1 is best; all intervals hold at once with `confidence`.
        high: The worst rank that each may have.
        groups: Sets of statistically indistinguishable defenses, none inside another; ordered by best mean, as are
            their members.
        best: The probability of being the best of all, over resampled images; it sums to 1, and ties share.
        p_values: [J][J], adjusted, of "equal accuracy at the adversarial examples picked for each"; 1 on the diagonal.
        confidence: In (0,1), of all rank intervals at once.
        n: Number of images.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    best: tuple[float, ...]
    p_values: tuple[tuple[float, ...], ...]
    confidence: float
    n: int


def rank(
    outcomes: npt.ArrayLike,
    confidence: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    anytime: bool = False,
) -> Ranking:
    """Compute rank intervals, groups and the probabilities of being best.

    Args:
        outcomes: [defenses, images] in [0,1], the same images for all; higher is better.
        confidence: In (0,1), of all rank intervals at once.
        seed: Decides the random signs and the resampled images.
        resamples: Number of random sign vectors and of resamples, >= 99.
        anytime: Whether p-values are those of bets, with Holm's correction, for a run that may stop at any time; the
            images in the board's random order.

    Returns:
        The ranking.

    Raises:
        ValueError: For another shape, values outside [0,1], and a confidence outside (0,1).
    """
    require_confidence(confidence)
    values = require_outcomes(outcomes)
    p = pair_p_values(values, seed=seed, resamples=resamples, anytime=anytime)
    mean = values.mean(axis=1)
    low, high = rank_intervals(p, mean, confidence)
    return Ranking(
        low=low,
        high=high,
        groups=alike_groups(_apart(p, confidence), mean),
        best=tuple(float(share) for share in probability_best(values, seed=seed, resamples=resamples)),
        p_values=tuple(tuple(float(one) for one in row) for row in p),
        confidence=confidence,
        n=values.shape[1],
    )


def rank_intervals(p: Floats, mean: Floats, confidence: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the best and the worst rank that each defense may have, 1 is best.

    Args:
        p: the adjusted p-values of all pairs, [J, J], symmetric.
        mean: [J], decides which of two defenses is the better one.
        confidence: In (0,1), of all rank intervals at once.
    """
    above = _apart(p, confidence) & (mean[:, np.newaxis] > mean)
    low = tuple(int(count) + 1 for count in above.sum(axis=0))
    return low, tuple(len(mean) - int(count) for count in above.sum(axis=1))


def _apart(p: Floats, confidence: float) -> npt.NDArray[np.bool_]:
    return np.asarray(p <= 1 - confidence + 1e-12)


def pair_p_values(
    outcomes: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, anytime: bool = False
) -> Floats:
    """Compute the p-values of all pairs, adjusted for one another, as `rank` uses them.

    The null hypothesis of a pair is equal accuracy at each row's picked adversarial examples. A p-value is the larger
    of the sign flips' (`romano_wolf` over all pairs) and of the guard against skewed differences (`skewness`), times
    the number of other rows, as each may have its own kind of image that was not seen, and times `GUARD_SHARE`.

    Args:
        outcomes: [defenses, images] in [0,1], the same images for all.
        seed: Decides the random signs.
        resamples: Number of random sign vectors, >= 99.
        anytime: Whether the p-values are those of bets, with Holm's correction; the images in the board's random order.

    Returns:
        [defenses, defenses], 1 on the diagonal.

    Raises:
        ValueError: For another shape and values outside [0,1].
    """
    values = require_outcomes(outcomes)
    defenses = values.shape[0]
    pairs = list(combinations(range(defenses), 2))
    differences = np.array([values[a] - values[b] for a, b in pairs]).reshape(len(pairs), values.shape[1])
    p = np.ones((defenses, defenses))
    if anytime:
        adjusted = holm(anytime_p_values(differences))
    else:
        guards = np.minimum(GUARD_SHARE * (defenses - 1) * guard_p_values(differences), 1.0)
        flipped = romano_wolf(differences, seed=seed, resamples=resamples, rows=(values, pairs))
        adjusted = np.maximum(flipped, guards)
    for (a, b), p_value in zip(pairs, adjusted, strict=True):
        p[a, b] = p[b, a] = p_value
    return p


def alike_groups(apart: npt.NDArray[np.bool_], mean: Floats) -> tuple[tuple[int, ...], ...]:
    """Find the largest sets of defenses of which no two are apart.

    They are the maximal cliques of "not apart" (Bron & Kerbosch, CACM 16, 1973).

    Args:
        apart: bool [J, J], symmetric; whether two defenses are significantly different.
        mean: [J], decides the order, best first.

    Returns:
        The sets, as tuples of positions.
    """
    defenses = len(mean)
    alike = [{b for b in range(defenses) if b != a and not apart[a, b]} for a in range(defenses)]
    found: list[set[int]] = []

    def extend(clique: set[int], open_: set[int], closed: set[int]) -> None:
        if not open_ and not closed:
            found.append(clique)
            return
        pivot = max(open_ | closed, key=lambda one: len(alike[one] & open_))
        for one in sorted(open_ - alike[pivot]):
            extend(clique | {one}, open_ & alike[one], closed & alike[one])
            open_, closed = open_ - {one}, closed | {one}

    extend(set(), set(range(defenses)), set())
    place = {one: number for number, one in enumerate(np.argsort(-mean, kind="stable").tolist())}
    groups = [tuple(sorted(group, key=place.__getitem__)) for group in found]
    return tuple(sorted(groups, key=lambda group: [place[one] for one in group]))


def probability_best(outcomes: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Estimate how often each defense has the highest mean when the images are resampled; ties share.

    Args:
        outcomes: [defenses, images] in [0,1].
        seed: Decides the resampled images.
        resamples: Number of resamples.

    Returns:
        [defenses], sums to 1.

    Raises:
        ValueError: For another shape and values outside [0,1].
    """
    values = require_outcomes(outcomes)
    images = values.shape[1]
    rng = np.random.default_rng(seed)
    won, share = np.zeros(values.shape[0]), np.full(images, 1 / images)
    at_once = max(1, _AT_ONCE // images)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = _drawn(rng, images, size) if images > _MANY else rng.multinomial(images, share, size=size)
        means = drawn @ values.T / images
        best = means >= means.max(axis=1, keepdims=True) - 1e-12
        won += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    return won / resamples


def _drawn(rng: np.random.Generator, images: int, size: int) -> Floats:
    """Return how often each image is drawn in each of `size` resamples, [size, images]."""
    places = (
        rng.integers(0, images, (size, images), dtype=np.int32)
        + images * np.arange(size, dtype=np.int32)[:, np.newaxis]
    )
    return np.bincount(places.ravel(), minlength=size * images).reshape(size, images).astype(np.float64)
