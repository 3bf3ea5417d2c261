"""Computes the cheapest numbers of images and draws for an interval of given width, and the power of comparisons.

An image costs c_image once (the attack) and c_draw for each draw. With the variances of `variance`, the mean over n
images of m draws has the variance (s2_image + s2_draw / m) / n, and n (c_image + m c_draw) is least, for a given
variance, at

    m* = sqrt(c_image / c_draw · s2_draw / s2_image)

(Cochran, Sampling Techniques, 3rd ed. 1977, §10.6, two-stage sampling). Two things are added to that rule.

* No interval of n values in [0,1] is a point: where all n agree, its half-width is about log(2/alpha) / (2 n) (Clopper
  and Pearson's 1 - (alpha/2)^(1/n)). With a standard error s, the half-width is about the square root of
  (k s)² + (log(2/alpha) / 2n)²; k is the normal quantile (1.96), and sqrt(2 log(2/alpha)) = 2.72 for betting.
* The bracket of a worst case does not shrink to a point with the number of images. The distance between the accuracy of
  the pick and the mean of the smallest fractions falls about as the square root of the draws: `picking` / sqrt(m).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, hypot, inf, log, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from purebench.statistics.design.variance import VarianceParts
from purebench.statistics.estimate import require_confidence

MOST_DRAWS = 1_000
"""Largest number of draws per image that is ever advised."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Numbers of images and draws, with the half-width to expect and the cost.

    Attributes:
        images: Number of images.
        draws: Number of draws of each image.
        half_width: Half-width of the interval to expect, a fraction.
        cost: Total cost, in the unit of the costs given.
    """

    images: int
    draws: int
    half_width: float
    cost: float


def widths_per_error(method: str, confidence: float) -> float:
    """Return k, the half-width of an interval in standard errors, for many images.

    Args:
        method: Of the interval, as in `Estimate.method`.
        confidence: Of the interval, in (0,1).

    Returns:
        The number of standard errors.
    """
    require_confidence(confidence)
    if "betting" in method or method.endswith("-sequence"):
        return sqrt(2 * log(2 / (1 - confidence)))
    return float(-ndtri((1 - confidence) / 2))


def expected_half_width(
    parts: VarianceParts,
    images: int,
    draws: int,
    confidence: float = 0.95,
    *,
    method: str = "gaffke",
    picking: float = 0.0,
) -> float:
    """Compute the expected half-width of an interval.

    Args:
        parts: Variances of one answer.
        images: Number of images, >= 1.
        draws: Number of draws of each image, >= 1.
        confidence: Of the interval, in (0,1).
        method: Of the interval, as in `Estimate.method`.
        picking: Distance between the ends of a bracket times the square root of its draws, as for `advise`.

    Returns:
        A fraction, at most 1/2.
    """
    sampling = widths_per_error(method, confidence) * sqrt(parts.of_mean(images, draws))
    return min(hypot(sampling, _least_half_width(images, confidence)) + picking / sqrt(draws) / 2, 0.5)


def _least_half_width(images: int, confidence: float) -> float:
    return log(2 / (1 - confidence)) / (2 * images)


def advise(
    parts: VarianceParts,
    half_width: float,
    *,
    cost_image: float = 1.0,
    cost_draw: float = 1.0,
    confidence: float = 0.95,
    method: str = "gaffke",
    least_draws: int = 1,
    picking: float = 0.0,
) -> Allocation:
    """Find the cheapest images and draws that reach a half-width.

    Args:
        parts: Variances of one answer.
        half_width: A fraction in (0,1/2).
        cost_image: Cost of one image whatever its draws, >= 0.
        cost_draw: Cost of one draw, > 0.
        confidence: Of the interval, in (0,1).
        method: Of the interval, as in `Estimate.method`.
        least_draws: Smallest number of draws; 2 where a worst attack is picked among several.
        picking: For a bracket, (mean of the pick's fresh fractions - mean of the smallest fractions) * sqrt(draws of
            those fractions), from a first run; it holds the regret of the pick and the bias of the minimum. 0 for the
            accuracy under one attack or at picked examples. `least_draws` and `draws` are then those of every attack.

    Returns:
        The cheapest allocation with at most `MOST_DRAWS` draws. Where `picking` alone is wider than asked for, that of
        most draws, with the half-width that it reaches.

    Raises:
        ValueError: For arguments out of their range.
    """
    if not 0 < half_width < 0.5:
        raise ValueError(f"expected a half-width in (0, 0.5), but got {half_width!r}; two percentage points are 0.02")
    if not (0 <= cost_image < inf and 0 < cost_draw < inf and least_draws >= 1):
        raise ValueError(
            "expected costs of at least 0 for an image and above 0 for a draw, and at least 1 draw, but got "
            f"{cost_image!r}, {cost_draw!r} and {least_draws!r}; any unit is accepted, such as seconds"
        )
    if not 0 <= picking < inf or least_draws > MOST_DRAWS:
        raise ValueError(
            f"expected picking >= 0 and at most {MOST_DRAWS} draws, but got {picking!r} and {least_draws!r}; pass the "
            "distance of the bracket's ends times the square root of its draws"
        )
    k = widths_per_error(method, confidence)
    found = [
        Allocation(images, draws, 0.0, images * (cost_image + draws * cost_draw))
        for draws in range(least_draws, MOST_DRAWS + 1)
        if (images := _images(k, parts.of_mean(1, draws), half_width - picking / sqrt(draws) / 2, confidence))
    ]
    # no allocation reaches it: use the most draws, and images until the sampling part is as short as the picking part
    if not found:
        images = _images(k, parts.of_mean(1, MOST_DRAWS), half_width, confidence)
        found = [Allocation(images, MOST_DRAWS, 0.0, images * (cost_image + MOST_DRAWS * cost_draw))]
    best = min(found, key=lambda one: (one.cost, one.draws))
    reached = expected_half_width(parts, best.images, best.draws, confidence, method=method, picking=picking)
    return replace(best, half_width=reached)


def _images(k: float, variance: float, half_width: float, confidence: float) -> int:
    """Fewest n with (k² variance / n) + (L / 2n)² <= half_width², L = log(2/alpha); 0 for half_width <= 0."""
    if half_width <= 0:
        return 0
    sampling, least = k**2 * variance, _least_half_width(1, confidence)
    # n solves half_width² n² - sampling n - least² = 0
    needed = (sampling + sqrt(sampling**2 + (2 * half_width * least) ** 2)) / (2 * half_width**2)
    return max(1, ceil(needed - 1e-9))


def comparison_power(
    images: int, difference: float, deviation: float, *, comparisons: int = 1, alpha: float = 0.05
) -> float:
    """Compute the probability that a paired comparison distinguishes two defenses, by the normal approximation.

    Args:
        images: Number of images, >= 1.
        difference: Of their means, a fraction.
        deviation: Standard deviation of the images' differences, > 0.
        comparisons: Number of comparisons that share the error alpha (Bonferroni, the first step of Holm), >= 1.
        alpha: Family-wise error rate.

    Returns:
        A probability.

    Raises:
        ValueError: For arguments out of their range.
    """
    if deviation <= 0 or images < 1 or comparisons < 1:
        raise ValueError(
            f"expected a deviation above 0 and at least 1 image and comparison, but got {deviation!r}, {images!r} "
            f"and {comparisons!r}; for right and wrong answers the variance is the share of images on which "
            "exactly one is right"
        )
    z = -float(ndtri(alpha / comparisons / 2))
    moved = abs(difference) * sqrt(images) / deviation
    return float(ndtr(moved - z) + ndtr(-moved - z))


def images_for_power(
    difference: float, deviation: float, power: float = 0.9, *, comparisons: int = 1, alpha: float = 0.05
) -> int:
    """Compute the number of images of a paired comparison of fixed size.

    It is (z_alpha + z_power)² deviation² / difference².

    Args:
        difference: Of the two means, a fraction other than 0.
        deviation: Standard deviation of the images' differences, > 0.
        power: Probability of distinguishing the two, in (0,1).
        comparisons: Number of comparisons that share the error alpha (Bonferroni, the first step of Holm).
        alpha: Family-wise error rate.

    Returns:
        The number of images.

    Raises:
        ValueError: If difference is 0 or power is outside (0,1).
    """
    if difference == 0 or not 0 < power < 1:
        raise ValueError(f"expected a difference other than 0 and a power in (0,1), but got {difference!r}, {power!r}")
    z = -float(ndtri(alpha / comparisons / 2) + ndtri(1 - power))
    return max(1, ceil((z * deviation / difference) ** 2))


def smallest_difference(
    images: int, discordant: float, power: float = 0.8, *, comparisons: int = 1, alpha: float = 0.05
) -> float:
    """Find the smallest difference that an exact McNemar test detects with a given power.

    The power is computed exactly, with the discreteness of the test: the number of discordant images is binomial, and
    of those the number on which the better one is right.

    Args:
        images: Number of images, >= 1.
        discordant: Share of images on which exactly one of the two is right, in (0,1]. A larger difference than that is
            taken to come with as many discordant images.
        power: Probability of detecting the difference, in (0,1).
        comparisons: Number of comparisons that share the error alpha (Bonferroni, the first step of Holm).
        alpha: Probability of distinguishing equal defenses, in (0,1).

    Returns:
        The difference, a fraction; infinite where no difference is detected with that power on so few images.

    Raises:
        ValueError: For arguments out of their range.
    """
    if images < 1 or not 0 < discordant <= 1 or not 0 < power < 1:
        raise ValueError(
            f"expected at least 1 image, a share in (0,1] and a power in (0,1), but got {images!r}, {discordant!r} and "
            f"{power!r}"
        )
    level = alpha / comparisons
    if mcnemar_power(images, 1.0, 1.0, level) < power:
        return inf
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        if mcnemar_power(images, middle, max(middle, discordant), level) < power:
            low = middle
        else:
            high = middle
    return high


def mcnemar_power(images: int, difference: float, discordant: float, alpha: float = 0.05) -> float:
    """Compute the power of the exact two-sided McNemar test.

    Args:
        images: Number of images, >= 1.
        difference: Between the two accuracies, in [0, discordant].
        discordant: Share of images on which exactly one of the two is right, in (0,1].
        alpha: Level of the test, in (0,1).

    Returns:
        The probability that the test rejects at that level.
    """
    from scipy.stats import binom  # imported here because it takes a second

    few, many = binom.ppf([1e-9, 1 - 1e-9], images, discordant)
    moved = np.arange(int(few), int(many) + 1)
    # the largest count with P(X <= count) <= alpha / 2 for a fair coin; -1 where there is none
    edge = binom.ppf(alpha / 2, moved, 0.5)
    edge = np.where((moved > 0) & (binom.cdf(edge, moved, 0.5) <= alpha / 2), edge, np.maximum(edge, 0) - 1)
    share = (1 + difference / discordant) / 2
    rejected = binom.cdf(edge, moved, share) + binom.sf(moved - edge - 1, moved, share)
    return float((binom.pmf(moved, images, discordant) * rejected).sum())
