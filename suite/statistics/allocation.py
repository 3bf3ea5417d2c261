"""How many images, and how many draws of each: the cheapest way to an interval that short, and what a comparison sees.

An image costs c_image once (the attack) and c_draw for each draw. With the variances of `variance`, the mean over n
images of m draws has the variance (s2_image + s2_draw / m) / n, and n (c_image + m c_draw) is least, for a given
variance, at

    m* = sqrt(c_image / c_draw · s2_draw / s2_image)

(Cochran, Sampling Techniques, 3rd ed. 1977, §10.6, two-stage sampling). Half the interval is k times the standard
error: k = sqrt(2 log(2/alpha)) for betting (2.72 at 95 %), to first order; the normal quantile (1.96) for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log, sqrt

from scipy.stats import norm

from purebench.statistics.estimate import require_confidence
from purebench.statistics.variance import VarianceParts

MOST_DRAWS = 1_000
"""More draws of an image are never advised."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """images, draws: how many, and of each image. half_width: to expect, a fraction. cost: in the unit given."""

    images: int
    draws: int
    half_width: float
    cost: float


def widths_per_error(method: str, confidence: float) -> float:
    """k: half the interval in standard errors, for many images."""
    require_confidence(confidence)
    if method.startswith("betting") or method == "paired-betting":
        return sqrt(2 * log(2 / (1 - confidence)))
    return float(norm.isf((1 - confidence) / 2))


def expected_half_width(
    parts: VarianceParts, images: int, draws: int, confidence: float = 0.95, *, method: str = "betting"
) -> float:
    """Half the interval to expect from that many images and draws, at most 1/2."""
    return min(widths_per_error(method, confidence) * sqrt(parts.of_mean(images, draws)), 0.5)


def advise(
    parts: VarianceParts,
    half_width: float,
    *,
    cost_image: float = 1.0,
    cost_draw: float = 1.0,
    confidence: float = 0.95,
    method: str = "betting",
    least_draws: int = 1,
) -> Allocation:
    """The cheapest images and draws that reach `half_width`.

    half_width: a fraction in (0,1/2). cost_image: of one image whatever its draws, >= 0; cost_draw: of one draw, > 0.
    least_draws: 2 where a worst attack is picked among several (half of the draws pick).
    Raises ValueError for arguments out of their range.
    """
    if not 0 < half_width < 0.5:
        raise ValueError(f"expected a half-width in (0, 0.5), but got {half_width!r}; 0.02 is two points")
    if not (0 <= cost_image < inf and 0 < cost_draw < inf and least_draws >= 1):
        raise ValueError(
            f"expected costs of at least 0 for an image and above 0 for a draw, and at least 1 draw, but got "
            f"{cost_image!r}, {cost_draw!r} and {least_draws!r}; any unit will do, such as seconds"
        )
    best = inf
    if parts.images > 0:
        best = sqrt(cost_image / cost_draw * parts.draws / parts.images)
    elif parts.draws == 0:
        best = 1.0
    near = min(max(int(min(best, MOST_DRAWS)), least_draws), max(MOST_DRAWS, least_draws))
    k = widths_per_error(method, confidence)
    tried = []
    for draws in {near, near + 1}:
        # a spread of zero is one that was not seen: one image is the least there is
        images = max(1, ceil(parts.of_mean(1, draws) * (k / half_width) ** 2 - 1e-9))
        reached = min(k * sqrt(parts.of_mean(images, draws)), 0.5)
        tried.append(Allocation(images, draws, reached, images * (cost_image + draws * cost_draw)))
    return min(tried, key=lambda one: (one.cost, one.draws))


def comparison_power(
    images: int, difference: float, deviation: float, *, comparisons: int = 1, alpha: float = 0.05
) -> float:
    """The probability that a paired comparison tells two defenses apart, by the normal approximation.

    difference: of their means, a fraction. deviation: the standard deviation of the images' differences, > 0.
    comparisons: how many share the error alpha (Bonferroni, the first step of Holm).
    """
    if deviation <= 0 or images < 1 or comparisons < 1:
        raise ValueError(
            f"expected a deviation above 0 and at least 1 image and comparison, but got {deviation!r}, {images!r} and "
            f"{comparisons!r}; for right and wrong the variance is the share of images on which just one is right"
        )
    z = float(norm.isf(alpha / comparisons / 2))
    moved = abs(difference) * sqrt(images) / deviation
    return float(norm.sf(z - moved) + norm.sf(z + moved))


def images_for_power(
    difference: float, deviation: float, power: float = 0.9, *, comparisons: int = 1, alpha: float = 0.05
) -> int:
    """How many images a paired comparison of fixed size needs: (z_alpha + z_power)² deviation² / difference²."""
    if difference == 0 or not 0 < power < 1:
        raise ValueError(f"expected a difference other than 0 and a power in (0,1), but got {difference!r}, {power!r}")
    z = float(norm.isf(alpha / comparisons / 2) + norm.isf(1 - power))
    return max(1, ceil((z * deviation / difference) ** 2))


def smallest_difference(
    images: int, discordant: float, power: float = 0.8, *, comparisons: int = 1, alpha: float = 0.05
) -> float:
    """The difference that a paired comparison sees with that power: the one whose `images_for_power` is `images`.

    discordant: the share of images on which just one of the two is right, in (0,1]; the variance of the images'
    differences is that less the squared difference.
    """
    if images < 1 or not 0 < discordant <= 1 or not 0 < power < 1:
        raise ValueError(
            f"expected at least 1 image, a share in (0,1] and a power in (0,1), but got {images!r}, {discordant!r} and "
            f"{power!r}"
        )
    z = float(norm.isf(alpha / comparisons / 2) + norm.isf(1 - power))
    # d² = z² (discordant - d²) / images
    return min(sqrt(z**2 * discordant / (images + z**2)), discordant)
