"""Tests that two means on the same images are equivalent, or that one is at most slightly above the other.

Two one-sided tests (TOST: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): the difference is
within the margin if "it is at least the margin" and "it is at most minus the margin" are both rejected, each at the
level. Two means that differ by the margin or more are called equivalent with a probability of at most the level
(intersection-union; Berger, Technometrics 24, 1982). Both bounds are those of `paired_difference`, which hold for
values of any distribution in [0,1].

Where all differences are 0, n images show a difference below 1 - level^(1/n): 0.05 at level 0.05 needs 59 images.
"""

from __future__ import annotations

import numpy.typing as npt

from purebench.statistics.ranking.paired import paired_difference


def exceeds_by_less(a: npt.ArrayLike, b: npt.ArrayLike, margin: float, level: float = 0.05) -> bool:
    """Return whether mean(a) - mean(b) is significantly below the margin.

    Args:
        a: [n] in [0,1], one per image.
        b: [n] in [0,1], the same images in the same order.
        margin: The margin, in (0,1).
        level: Largest probability of True if the difference is at least the margin, in (0,0.5).

    Raises:
        ValueError: If margin or level are out of range, or the values are not [n] in [0,1].
    """
    _check(margin, level)
    return paired_difference(a, b, 1 - 2 * level).high < margin


def equivalent(a: npt.ArrayLike, b: npt.ArrayLike, margin: float, level: float = 0.05) -> bool:
    """Return whether the means of a and b differ by significantly less than the margin, in either direction.

    Args:
        a: [n] in [0,1], one per image.
        b: [n] in [0,1], the same images in the same order.
        margin: The margin, in (0,1).
        level: Largest probability of True if the means differ by the margin or more, in (0,0.5).

    Raises:
        ValueError: If margin or level are out of range, or the values are not [n] in [0,1].
    """
    _check(margin, level)
    difference = paired_difference(a, b, 1 - 2 * level)
    return -margin < difference.low and difference.high < margin


def _check(margin: float, level: float) -> None:
    if not 0 < margin < 1:
        raise ValueError(f"expected a margin in (0,1), but got {margin!r}; pass a fraction, such as 0.05 for 5 points")
    if not 0 < level < 0.5:
        raise ValueError(f"expected a level in (0,0.5), but got {level!r}; pass a probability of error, such as 0.05")
