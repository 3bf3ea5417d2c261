"""Computes security curves: accuracy against radius, from the distances of a minimum-norm attack.

An attack that looks for the nearest adversarial image gives a distance for each image. The share of images whose
distance is above r is an upper bound on the robust accuracy at radius r; as a function of r it is the security
evaluation curve of Biggio & Roli (Pattern Recognition 84, 2018, arXiv:1712.03141).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals.methods import interval
from purebench.statistics.intervals.proportions import clopper_pearson_table

Floats = npt.NDArray[np.float64]


def security_curve(
    distances: Sequence[float | None], radii: Sequence[float], confidence: float = 0.95, *, anytime: bool = False
) -> list[Estimate]:
    """Estimate the accuracy at each radius: the share of images without an adversarial example within it.

    Args:
        distances: One per image, >= 0, in the units of the radii; None where nothing was found, which counts as robust
            at every radius. If anytime, in the board's random order.
        radii: Radii >= 0, in any order.
        confidence: In (0,1), of each point separately (Clopper–Pearson), not of the whole curve.
        anytime: Whether to use betting sequences instead, for a run that may stop at any time.

    Returns:
        Fractions in [0,1] over all images, in the order of `radii`; they never rise with the radius.

    Raises:
        ValueError: For no images, and for distances and radii that are negative or NaN.
    """
    given = _require_distances(distances)
    found = np.sort(given)
    asked = np.asarray(radii, dtype=np.float64)
    if asked.ndim != 1 or not (asked >= 0).all():
        raise ValueError(f"expected radii to be a list of numbers of at least 0, but got {radii!r}; remove NaN")
    holding = found.size - np.searchsorted(found, asked, side="right")
    # a curve has a point for each image, but many points have the same count
    if not anytime:
        counts, places = np.unique(holding, return_inverse=True)
        table = clopper_pearson_table(counts, found.size, confidence)
        return [table[place] for place in places.tolist()]
    first = {int(count): radius for count, radius in zip(holding[::-1], asked[::-1], strict=True)}
    estimates = {count: interval(given > radius, "betting-sequence", confidence) for count, radius in first.items()}
    return [estimates[int(count)] for count in holding]


def median_distance(distances: Sequence[float | None]) -> float | None:
    """Compute the median of the images' distances.

    Args:
        distances: One per image, >= 0; None where nothing was found.

    Returns:
        The median (of an even number, the mean of the middle two); None if it is infinite, because nothing was found
        for half of the images.

    Raises:
        ValueError: For no images, and for distances that are negative or NaN.
    """
    found = np.sort(_require_distances(distances))
    middle = float(found[(found.size - 1) // 2] + found[found.size // 2]) / 2
    return middle if np.isfinite(middle) else None


def _require_distances(distances: Sequence[float | None]) -> Floats:
    """Return the distances [n], infinite where nothing was found."""
    given = [np.inf if distance is None else float(distance) for distance in distances]
    if not given:
        raise ValueError("expected at least 1 distance, but got none; compute no curve without images")
    checked = np.array(given, dtype=np.float64)
    bad = ~(checked >= 0)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"expected distances of at least 0, but got {checked[first]} for image {first}; "
            "give None where no adversarial image was found"
        )
    return checked
