"""Confidence interval of the mean of values in [0,1] from random weights, for a fixed number of images.

Give each of the n values, and one artificial value 0, a weight; the weights (D_0, …, D_n) are uniform on the simplex,
Dirichlet(1, …, 1). The lower confidence bound at level 1 - alpha is the alpha quantile of sum_i D_i x_i:

    low = the t with P(sum_i D_i x_i <= t) = alpha          high = 1 - (the same for 1 - x_i)

Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable",
Mathematical Methods of Statistics 14, 2005; Learned-Miller & Thomas, "A new confidence interval for the mean of a
bounded random variable", 2019 (arXiv:1905.06208). For 0/1 values the bound is exactly that of Clopper and Pearson. It
is proved for values of two points and conjectured for all values in [0,1]; no counterexample is known, and
benchmarks/statistical.py simulates the coverage.

**The order of the values does not matter**, and nothing is random: with independent exponential variables E_i,

    P(sum_i D_i x_i <= t) = P(S <= 0),   S = sum_i E_i y_i,   y_i = x_i - t,   y_0 = -t

and the distribution of S follows from its cumulant generating function K(s) = -sum_i log(1 - s y_i) by an integral that
crosses the real line at some c < 0 (Daniels, Annals of Mathematical Statistics 25, 1954, eq. 2.2 integrated over the
tail),

    P(S <= 0) = -1/(2 pi i) integral exp(K(s)) / s ds

The path is a hyperbola near the path of steepest descent, s = c + w (i sinh v + b (cosh v - 1)), on which the integrand
hardly oscillates and the trapezoidal rule in v is accurate to about 10 digits.
"""

from __future__ import annotations

from functools import cache
from math import inf, isfinite, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from purebench.statistics.estimate import Estimate, require_confidence, require_unit_values

Floats = npt.NDArray[np.float64]

_STEP = 0.15
"""The step of the trapezoidal rule in v. The integrand is analytic at least for |Im v| < pi/4, so the relative error is
about exp(-pi² / (2 step))."""

_NODES = 24
"""Nodes that are computed at a time; for many images the integrand vanishes within the first ones."""

_FARTHEST = 26.0
"""The largest v: the integrand falls at least as exp(-2 v)."""

_TOLERANCE = 1e-10


def gaffke(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of values in [0,1], with an interval that does not depend on their order.

    Args:
        values: [n] in [0,1], one per image, in any order.
        confidence: Nominal coverage of the two-sided interval, in (0,1).

    Returns:
        The sample mean with the interval between the two one-sided bounds of level (1 + confidence) / 2.

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = np.sort(require_unit_values(values))  # because the last bit of a sum depends on the order
    each = (1 + confidence) / 2
    mean = float(x.mean())
    low, high = min(one_sided_bound(x, each, "low"), mean), max(one_sided_bound(x, each, "high"), mean)
    return Estimate(mean, low, high, confidence, x.size, "gaffke")


def one_sided_bound(values: npt.ArrayLike, confidence: float, side: Literal["low", "high"]) -> float:
    """Compute a one-sided confidence bound of the mean of values in [0,1].

    Args:
        values: [n] in [0,1], one per image, in any order.
        confidence: Probability with which the bound holds, in (0,1).
        side: "low" for a lower bound of the mean, "high" for an upper bound.

    Returns:
        The bound, in [0,1].

    Raises:
        ValueError: If values are not [n] in [0,1], or confidence is outside (0,1).
    """
    require_confidence(confidence)
    x = np.sort(require_unit_values(values))
    if side == "high":
        return 1 - one_sided_bound(1 - x, confidence, "low")
    most = float(x.max())
    if most == 0:
        return 0.0
    return most * _lower_quantile(x / most, 1 - confidence)


def mean_p_value(values: npt.ArrayLike, mean: float) -> float:
    """Test "the mean of the values is at most `mean`" by inverting the lower bound.

    Args:
        values: [n] in [0,1], one per image, in any order.
        mean: The mean under the null hypothesis, in [0,1].

    Returns:
        The one-sided p-value: the bound of level 1 - p is `mean`.

    Raises:
        ValueError: If values are not [n] in [0,1], or mean is outside [0,1].
    """
    x = require_unit_values(values)
    if not 0 <= mean <= 1:
        raise ValueError(f"expected a mean in [0,1], but got {mean!r}; pass a fraction, not a percentage")
    distinct, times = np.unique(x, return_counts=True)
    return _weighted_mean_below(distinct, times, mean)


def _lower_quantile(x: Floats, alpha: float) -> float:
    """The alpha quantile of sum_i D_i x_i. x: [n] in [0,1], the largest 1."""
    distinct, times = np.unique(x, return_counts=True)
    mean = float(x.sum()) / (x.size + 1)
    scale = sqrt(max(float((x**2).sum()) / (x.size + 1) - mean**2, 0.0) / (x.size + 2))
    target = float(ndtri(alpha))
    low, high, slope = 0.0, 1.0, 1 / max(scale, 1e-6)
    t, before = min(max(mean + target * scale, 1e-9), 1 - 1e-9), (0.0, -inf)
    # the secant method in normal quantiles, which are nearly linear in t; bisection where it leaves the bracket
    while high - low > _TOLERANCE:
        excess = float(ndtri(_weighted_mean_below(distinct, times, t))) - target
        low, high = (t, high) if excess < 0 else (low, t)
        if isfinite(excess) and isfinite(before[1]) and excess != before[1]:
            slope = (excess - before[1]) / (t - before[0])
        before, step = (t, excess), -excess / slope
        if abs(step) < _TOLERANCE:
            return min(max(t + step, 0.0), 1.0)
        t = t + step if low < t + step < high else (low + high) / 2
    return (low + high) / 2


def _weighted_mean_below(distinct: Floats, times: npt.NDArray[np.int64], t: float) -> float:
    """P(sum_i D_i x_i <= t). distinct: the values, sorted, each `times` times; the artificial 0 is added here."""
    if t >= distinct[-1]:
        return 1.0
    if t <= 0:
        return 0.0
    y, weight = np.append(distinct - t, -t), np.append(times, 1).astype(np.float64)
    c = _abscissa(y, weight)
    # derivatives of K(s) - log(-s), the logarithm of the integrand, at c
    ratios = y / (1 - c * y)
    second = float((weight * ratios**2).sum()) + 1 / c**2
    third = float((weight * ratios**3).sum()) * 2 - 2 / c**3
    width, bend = 1 / sqrt(second), min(max(third / (3 * second**1.5), -1.0), 1.0)
    peak = -float((weight * np.log1p(-c * y)).sum())
    total, first = 0.0, 0
    while first * _STEP < _FARTHEST:
        sinh, cosh = _hyperbolic(first)
        s = c + width * (1j * sinh + bend * (cosh - 1))
        slope = cosh - 1j * bend * sinh  # ds / (i width dv)
        terms = np.exp(-(np.log(1 - s[:, np.newaxis] * y) @ weight) - peak) / s * slope
        terms[0] *= 0.5 if first == 0 else 1.0
        total += float(terms.real.sum())
        if abs(terms[-1]) < 1e-16 * abs(total):
            break
        first += _NODES
    return float(min(max(-total * width * _STEP / np.pi * np.exp(peak), 0.0), 1.0))


@cache
def _hyperbolic(first: int) -> tuple[Floats, Floats]:
    """Return sinh and cosh at the nodes from number `first` on, which are the same for all data."""
    v = np.arange(first, first + _NODES) * _STEP
    return np.sinh(v), np.cosh(v)


def _abscissa(y: Floats, times: Floats) -> float:
    """Return c < 0, near the minimum of exp(K(c)) / |c| on the real line, where the integrand does not oscillate.

    Its logarithm is convex between 1 / min(y) and 0 and infinite at both; its derivative is bisected to a few percent,
    as the integral is the same along every path.
    """
    low, high = 1 / float(y.min()), 0.0
    weighted = times * y
    while high - low > -0.04 * high:
        c = (low + high) / 2
        if float((weighted / (1 - c * y)).sum()) - 1 / c < 0:
            low = c
        else:
            high = c
    return (low + high) / 2
