"""The bias-corrected and accelerated (BCa) bootstrap over images: Efron, JASA 82, 1987.

Images are resampled, never draws: an image's value is the mean of its draws, so the draws stay in their cluster. With

    z0 = Phi^-1(share of resampled means below the mean),  a = sum d³ / (6 (sum d²)^1.5),  d = x - mean

the ends are the quantiles Phi(z0 + (z0 ± z) / (1 - a (z0 ± z))) of the resampled means.

As published its coverage is too low where few images are wrong: where none is, it is a point. So the low end is that of
the sample with one artificial wrong image, the high end that of the sample with one artificial right image (Clopper &
Pearson's k and k+1 do the same), and z is the one at which the interval has its nominal coverage for yes/no answers,
whose resampled means are binomial: nothing is simulated for that (see `calibration`). For fractions of draws, whose
variance is smaller, the coverage is simulated (benchmarks/statistical.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from purebench.statistics.estimate import Estimate, require_confidence, require_unit_values
from purebench.statistics.intervals.calibration import calibrated

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 9_999
_AT_ONCE = 2_000_000  # numbers held in memory while resampling


def bca(
    values: npt.ArrayLike,
    confidence: float = 0.95,
    *,
    seed: int = 0,
    calibrate: bool = True,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Compute the BCa interval of the mean over images.

    Args:
        values: [n] in [0,1], one per image.
        confidence: In (0,1).
        seed: Decides the resamples.
        calibrate: Whether to add the artificial image at each end and use the calibrated level; False for the interval
            as published ("bca-approximate"), which is a point where all values are alike.
        resamples: Number of resamples, >= 100.

    Returns:
        The sample mean with its interval.

    Raises:
        ValueError: If values are not [n] in [0,1], confidence is outside (0,1), or resamples is below 100.
    """
    require_confidence(confidence)
    x = require_unit_values(values)
    if resamples < 100:
        raise ValueError(f"expected at least 100 resamples, but got {resamples}; {RESAMPLES} is the default")
    mean = float(x.mean())
    if calibrate:
        z = calibrated(binary_ends, x.size, confidence)
        low = _end(np.append(x, 0.0), -z, seed, resamples)
        high = _end(np.append(x, 1.0), z, seed, resamples)
    else:
        z = -float(ndtri((1 - confidence) / 2))
        low, high = _end(x, -z, seed, resamples), _end(x, z, seed, resamples)
    name = "bca" if calibrate else "bca-approximate"
    return Estimate(mean, min(low, mean), max(high, mean), confidence, x.size, name)


def binary_ends(successes: Counts, n: int, z: float) -> tuple[Floats, Floats]:
    """Compute the ends for yes/no answers with the artificial images, in the limit of infinitely many resamples.

    Args:
        successes: Right answers, each in 0..n, any shape.
        n: Number of images, >= 1.
        z: Normal quantile of the level (1.96 for 95 %).

    Returns:
        The low and the high ends, of the shape of `successes`.
    """
    return _binary_end(successes, n + 1, -z), _binary_end(successes + 1, n + 1, z)


def resampled_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Compute means of samples of the same size drawn with replacement.

    Values that repeat are drawn together, by how often each occurs: a few numbers per resample instead of n.

    Args:
        values: [n].
        resamples: Number of resamples.
        rng: Generator of the resamples.

    Returns:
        [resamples].
    """
    levels, counts = np.unique(values, return_counts=True)
    share = counts / values.size
    at_once = max(1, _AT_ONCE // levels.size)
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([rng.multinomial(values.size, share, size=size) @ levels for size in sizes]) / values.size


def _binary_end(successes: Counts, n: int, z: float) -> Floats:
    from scipy.stats import binom  # imported here because it takes a second and only this method needs it

    p = successes / n
    torn = (p > 0) & (p < 1)
    inner = np.where(torn, p, 0.5)
    below = binom.cdf(successes - 1, n, inner) + 0.5 * binom.pmf(successes, n, inner)
    acceleration = (1 - 2 * inner) / (6 * np.sqrt(n * inner * (1 - inner)))
    level = _level(np.where(torn, below, 0.5), acceleration, z)
    return np.asarray(np.where(torn, binom.ppf(level, n, inner) / n, p), dtype=np.float64)


def _end(sample: Floats, z: float, seed: int, resamples: int) -> float:
    """Return the low end for z < 0, the high one for z > 0; rounded outwards to a resampled mean."""
    mean = float(sample.mean())
    offsets = sample - mean
    squares = float((offsets**2).sum())
    if np.ptp(sample) == 0:
        return mean
    means = np.sort(resampled_means(sample, resamples, np.random.default_rng(seed)))
    slack = 1e-12  # sums of the same values in another order differ by rounding
    below = int(np.searchsorted(means, mean - slack) + np.searchsorted(means, mean + slack))
    share = min(max(below / (2 * resamples), 0.5 / resamples), 1 - 0.5 / resamples)
    level = float(_level(share, float((offsets**3).sum()) / (6 * squares**1.5), z)) * (resamples - 1)
    return float(means[int(np.floor(level) if z < 0 else np.ceil(level))])


def _level(below: float | Floats, acceleration: float | Floats, z: float) -> Floats:
    """Efron's adjusted level for the normal quantile z."""
    bias = ndtri(below)
    moved = bias + z
    shrunk = np.maximum(1 - acceleration * moved, 1e-3)
    return np.asarray(ndtr(bias + moved / shrunk), dtype=np.float64)
