"""Adjusts p-values for multiple comparisons, so that the family-wise error rate is at most the level asked for.

holm          Holm, Scandinavian Journal of Statistics 6, 1979: any p-values, whatever their dependence
romano_wolf   Romano & Wolf, Econometrica 73, 2005 (adjusted p-values: Statistics & Probability Letters 113, 2016): from
              the differences themselves, and so more powerful for dependent comparisons, such as those that share a
              defense. The null distribution is that of random signs (see `signs`), not of a bootstrap, which is exact
              for symmetric differences, also for few images; see `skewness` for differences that are not symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from purebench.statistics.signs import RESAMPLES, sign_flipped, studentised

Floats = npt.NDArray[np.float64]

_SLACK = 1e-9  # sums in another order differ by rounding


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust p-values by Holm's step-down method.

    Rejecting the hypotheses with an adjusted p-value <= alpha keeps the family-wise error rate at or below alpha.

    Args:
        p_values: [comparisons] in [0,1].

    Returns:
        The adjusted p-values [comparisons], in the order given.

    Raises:
        ValueError: If p_values is not a list of numbers in [0,1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected a list of p-values in [0,1], but got {p_values!r}; check them for NaN")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((p.size - np.arange(p.size)) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def romano_wolf(
    differences: npt.ArrayLike,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    rows: tuple[Floats, Sequence[tuple[int, int]]] | None = None,
) -> Floats:
    """Compute two-sided step-down adjusted p-values of "the mean difference is 0".

    Args:
        differences: [comparisons, images], of the same images in each comparison.
        seed: Decides the random signs.
        resamples: Number of random sign vectors, >= 99.
        rows: For differences of pairs of few rows, the values [rows, images] and the pair of each comparison, from
            which sums are computed faster; None otherwise.

    Returns:
        [comparisons]: p-values (1 + exceedances) / (1 + resamples), so never 0.

    Raises:
        ValueError: For another shape, NaN, and fewer than 99 resamples.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 2 or d.shape[1] == 0 or not np.isfinite(d).all():
        raise ValueError(
            f"expected finite differences [comparisons, images], but got shape {list(d.shape)}; "
            "subtract the two defenses image by image"
        )
    if resamples < 99:
        raise ValueError(f"expected at least 99 resamples, but got {resamples}; {RESAMPLES} is the default")
    if d.shape[0] == 0:
        return np.zeros(0)
    observed = studentised(d)
    order = np.argsort(-observed, kind="stable")
    drawn = sign_flipped(d, resamples, seed, rows)[:, order]
    # the maximum over the hypotheses that are not rejected yet, accumulated from the weakest comparison upwards
    largest = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
    exceeding = (largest >= observed[order] - _SLACK).sum(axis=0)
    adjusted = np.empty(d.shape[0])
    adjusted[order] = np.maximum.accumulate((1 + exceeding) / (1 + resamples))
    return adjusted
