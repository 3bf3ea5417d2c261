"""Simulated worlds for the statistics: answers of a random defense under several attacks, image by image.

q[a,i] is the probability of a right answer. Each repetition draws other images, so the truth is a mean over the
population. Only numbers of right draws are simulated (binomial), not single draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from purebench.statistics import FRESH, RUNGS, contenders, picked

Floats = npt.NDArray[np.float64]
World = Callable[[int, int, np.random.Generator], Floats]
"""Maps attacks, images and a generator to q [attacks, images]."""

COLUMNS = 16
BLOCK = 24


def _base(images: int, rng: np.random.Generator) -> Floats:
    return rng.normal(0.3, 2.0, images)


def _alike(attacks: int, images: int, rng: np.random.Generator) -> Floats:
    return np.repeat(expit(_base(images, rng))[np.newaxis], attacks, axis=0)


def _dominant(attacks: int, images: int, rng: np.random.Generator) -> Floats:
    weaker = np.where(np.arange(attacks) == attacks - 1, 0.0, 2.0)[:, np.newaxis]
    return np.asarray(expit(_base(images, rng) + weaker), dtype=np.float64)


def _spread(deviation: float) -> World:
    def world(attacks: int, images: int, rng: np.random.Generator) -> Floats:
        return np.asarray(expit(_base(images, rng) + rng.normal(0, deviation, (attacks, images))), dtype=np.float64)

    return world


def _coin(attacks: int, images: int, rng: np.random.Generator) -> Floats:
    return np.full((attacks, images), 0.6)


def _normal(attacks: int, images: int, rng: np.random.Generator) -> Floats:
    return np.clip(0.6 + rng.normal(0, 0.15, (attacks, images)), 0, 1)


def _clean(attacks: int, images: int, rng: np.random.Generator) -> Floats:
    base = _base(images, rng)
    found = expit(base + rng.normal(0, 0.5, (attacks, images)))
    found[0] = expit(base + 2.5)
    return np.asarray(found, dtype=np.float64)


WORLDS: dict[str, World] = {
    "alike": _alike,
    "coin": _coin,
    "dominant": _dominant,
    "spread 0.5": _spread(0.5),
    "spread 1": _spread(1.0),
    "0.6 ± 0.15": _normal,
    "clean at +2.5": _clean,
}
"""logit q ~ N(0.3, 2) except for coin (0.6) and 0.6 ± 0.15. alike: equal for all attacks; dominant: all others + 2;
spread s: + N(0, s) for each attack and image; clean: spread 0.5, and a column at + 2.5."""

SURE = ("alike", "coin", "dominant")
"""Worlds in which errors of picking hardly matter."""


@dataclass(frozen=True)
class Played:
    """The draws of one board: columns, halving and fresh draws.

    Attributes:
        lowest: [images], the smallest fraction over the columns.
        fresh: [images], the pick's fraction of fresh draws.
        chosen: [images], q of the pick.
        columns: int [attacks, images], right draws of the columns.
    """

    lowest: Floats
    fresh: Floats
    chosen: Floats
    columns: npt.NDArray[np.int64]


def play(q: Floats, rng: np.random.Generator) -> Played:
    """Verify, pick in blocks of 24 and score, as a board does. q: [attacks, images]."""
    columns = rng.binomial(COLUMNS, q)
    whole = q.shape[1] // BLOCK * BLOCK
    ends = [0, whole, q.shape[1]] if 0 < whole < q.shape[1] else [0, q.shape[1]]
    chosen = np.concatenate([_halved(q[:, a:b], columns[:, a:b], rng) for a, b in pairwise(ends)])
    return Played(columns.min(axis=0) / COLUMNS, rng.binomial(FRESH, chosen) / FRESH, chosen, columns)


def _halved(q: Floats, columns: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Return q of the picks, [images]; blocks of equal size are processed together."""
    attacks, images = q.shape
    blocks = max(1, images // BLOCK)
    shape = (attacks, blocks, images // blocks)
    stacked, right = (np.moveaxis(one.reshape(shape), 0, 1) for one in (q, columns))
    draws, counts = np.full(stacked.shape, COLUMNS), np.ones(stacked.shape, dtype=np.bool_)
    for rung in RUNGS:
        asked = contenders(right, draws, counts, rung.keep)
        right = right + np.where(asked, rng.binomial(rung.draws, stacked), 0)
        draws = draws + np.where(asked, rung.draws, 0)
    pick = picked(right, draws, counts)
    return np.take_along_axis(stacked, pick[:, np.newaxis], axis=1).reshape(images)


def near_constant_and_coins(rows: int, images: int, rng: np.random.Generator) -> Floats:
    """Return [rows, images]: one row is right on 98 % of the draws of every image, the others on 98 % of the images."""
    found = (rng.random((rows, images)) < 0.98).astype(np.float64)
    found[0] = 0.98
    return found


def skewed(rows: int, images: int, rng: np.random.Generator) -> Floats:
    """Return [rows, images]: a constant 0.9, rows of draws whose q is Beta(0.9, 0.1), and rows of 1 or, rarely, 1/2."""
    found = [np.full(images, 0.9)]
    for row in range(1, rows):
        if row % 2:
            found.append(rng.binomial(FRESH, rng.beta(0.9, 0.1, images)) / FRESH)
        else:
            found.append(np.where(rng.random(images) < 0.2, 0.5, 1.0))
    return np.stack(found)


MEAN = 0.545326
"""The mean of expit(N(0.3, 2)), by Gauss–Hermite quadrature."""


def dominated_and_spread(rows: int, images: int, rng: np.random.Generator) -> Floats:
    """Return [rows, images] of equal accuracy: half depend on the difficulty of the image; the others are constant or
    0/1 per image."""
    q, found = expit(_base(images, rng)), []
    for row in range(rows):
        own = q if row < rows // 2 else np.full(images, MEAN) if row % 2 else (rng.random(images) < MEAN) * 1.0
        found.append(rng.binomial(FRESH, own) / FRESH)
    return np.stack(found)


RANK_WORLDS: dict[str, World] = {
    "0.98 always, and on 98 % of images": near_constant_and_coins,
    "skewed": skewed,
    "dominated and spread": dominated_and_spread,
}
"""Rows of equal accuracy [rows, images] whose differences are not symmetric."""
