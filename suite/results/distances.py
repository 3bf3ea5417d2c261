"""Distances of the adversarial images that minimum-norm attacks found, by attack and by image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from math import inf

import numpy as np
import numpy.typing as npt

from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.threat import parse_radius
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED, DefenseResult
from purebench.statistics import median_distance

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reach:
    """The adversarial images that a minimum-norm attack found.

    Attributes:
        median: the median distance over all images asked, where images without an adversarial image count as infinite;
            None if the median is infinite.
        found: the number of images for which it found an adversarial image.
        asked: the number of images for which it answered.
    """

    median: float | None
    found: int
    asked: int


@dataclass(frozen=True)
class NearestDistances:
    """The smallest distance at which any attack broke each image of a defense.

    Attributes:
        distances: one per image; None where nothing broke it, 0 where the image itself is misclassified, or where an
            attack ERRORED, which never counts as robust.
        attacks: the minimum-norm attacks.
        missing: the number of distances that are None.
        errored: the number of distances that are 0 because of an error.
        spared: the number of images on which no minimum-norm attack was run, because earlier attacks in a cascade had
            broken them.
        anytime: whether the results determined where the run ended, so that intervals must be anytime-valid.
    """

    distances: tuple[float | None, ...]
    attacks: tuple[str, ...]
    missing: int
    errored: int
    spared: int
    anytime: bool = False


def reach(attack: AttackResult) -> Reach | None:
    """Return the distances that the attack found; None if it is not a minimum-norm attack, or answered for no image."""
    asked = list(compress(attack.nearest, attack.has(*ANSWERED)))
    if not asked:
        return None
    return Reach(median_distance(asked), sum(distance is not None for distance in asked), len(asked))


def nearest_distances(result: DefenseResult) -> NearestDistances | None:
    """Return the smallest distance of each image; None without a minimum-norm attack that answered.

    Images that other attacks broke count as well, at their distance. So for a deterministic defense the share of images
    above the threat's radius is its robust accuracy, with or without a cascade. An image is left out if no minimum-norm
    attack was run on it and nothing broke it.
    """
    searching = [attack for attack in result.common if reach(attack) is not None]
    if not searching:
        return None
    errored, asked = np.zeros((2, len(result.images)), dtype=np.bool_)
    for attack in result.common:
        errored |= attack.has(Outcome.ERRORED)
    for attack in searching:
        asked |= attack.has(*ANSWERED)
    known = _known(result, parse_radius(result.board["threat"]["radius"]))
    found = np.isfinite(known)
    kept = errored | found | asked
    distances = [value if value < inf else None for value in np.where(errored, 0.0, known)[kept].tolist()]
    names = tuple(attack.name for attack in searching)
    spared = int((found & ~errored & ~asked).sum())
    return NearestDistances(tuple(distances), names, distances.count(None), int(errored.sum()), spared, result.anytime)


def _known(result: DefenseResult, radius: float) -> Floats:
    """Return the smallest distance at which each image was broken, [images]; infinite where nothing broke it.

    The distances of attacks within the threat model exceed the radius by rounding only, so they are clipped to it.
    """
    smallest = np.full(len(result.images), np.inf)
    for attack in result.common:
        broken = attack.has(Outcome.MISCLASSIFIED)
        inside = np.minimum(
            np.array(attack.distances, dtype=np.float64), radius
        )  # None becomes NaN, which fmin ignores
        smallest = np.fmin(smallest, np.where(broken, inside, np.nan))
        if attack.nearest:
            smallest = np.fmin(smallest, np.array(attack.nearest, dtype=np.float64))
    return smallest


def distance_text(norm: str, distance: float | None) -> str:
    """Format a distance in the usual units of the norm: "8.7/255" for linf, "0.034" for the others, "∞" for None."""
    if distance is None:
        return "∞"
    unit = NORM_FACTS[norm].unit
    return f"{unit * distance:.1f}/{unit}" if unit > 1 else f"{distance:.3g}"
