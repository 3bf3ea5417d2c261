"""Estimates what some attacks miss and others find, image by image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.worst_case.split_draws import require_bool

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def missed_per_image(right: Bools, other_right: Bools) -> Floats:
    """Estimate, for each image, how far the lowest accuracy under other attacks lies below the lowest under these.

    For image i let a[i] and b[i] be the smallest probability of a right draw under these attacks and under the others.
    With one draw (a deterministic defense) the result is max(0, a[i] - b[i]), without an error. With more, it lies
    below that in expectation, so a lower bound of its mean is one of the mean of max(0, a[i] - b[i]): one half of the
    draws picks the other attack and decides whether it is below all of these. If so, the other half scores the
    difference between the smallest fraction under these attacks, which lies below a[i] in expectation, and that under
    the picked attack, whose probability is at least b[i]. The halves then change places, and the scores are averaged.

    Args:
        right: bool [attacks, images, draws], whether a draw was right under the attacks that may miss something.
        other_right: bool [other attacks, images, draws], the same of attacks that may find it.

    Returns:
        [images] in [-1,1], and in [0,1] with one draw.

    Raises:
        ValueError: For another shape or dtype, and for other images or draws of the two.
    """
    axes = ("attacks", "images", "draws")
    right, other_right = require_bool(right, "right", axes), require_bool(other_right, "other_right", axes)
    if right.shape[1:] != other_right.shape[1:]:
        raise ValueError(
            f"expected equally many images and draws, but got {list(right.shape[1:])} and "
            f"{list(other_right.shape[1:])}; pass both for the same images"
        )
    draws = right.shape[2]
    if draws == 1:
        return np.asarray(right[:, :, 0].all(axis=0) & ~other_right[:, :, 0].all(axis=0), dtype=np.float64)
    halves = [slice(draws // 2), slice(draws // 2, draws)]
    first, second = ([each[:, :, half].mean(axis=2) for each in (right, other_right)] for half in halves)
    return np.asarray((_scored(first, second) + _scored(second, first)) / 2, dtype=np.float64)


def _scored(picking: list[Floats], scoring: list[Floats]) -> Floats:
    """Return [images]: the difference in one half of the draws where the other half shows one, and else 0.

    Args:
        picking: the fractions [attacks, images] of these and of the other attacks in the half that picks.
        scoring: the same in the half that scores.
    """
    (low, others), (scored, other_scored) = (picking[0].min(axis=0), picking[1]), (scoring[0].min(axis=0), scoring[1])
    pick = others.argmin(axis=0)
    found = scored - other_scored[pick, np.arange(len(pick))]
    return np.where(others.min(axis=0) < low, found, 0.0)
