"""Whether two differ, or a mean is too large, asked after every image: bets whose p-values hold whenever one stops.

Under "equally good" the differences d_i in [-1,1] have mean 0, and so

    K_t = mean over stakes l of prod_{i<=t} (1 + l d_i)

is a martingale from 1 that ever reaches 1/alpha with probability at most alpha (Ville): min_t 1/K_t is a p-value at any
time. The mixture over stakes is the diversified bet of Waudby-Smith & Ramdas (JRSS-B 86, 2024, arXiv:2010.09686, §5);
for d in {-1,0,1}, a sequential McNemar test. Under "the mean of x in [0,1] is at most m" the same holds of
prod 1 + (s/m)(x_i - m) for stakes s in (0,1), which never rises on average.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import require_unit_values

Floats = npt.NDArray[np.float64]

STAKES = np.concatenate([side * np.geomspace(0.02, 0.9, 16) for side in (-1, 1)])
"""The mixture: small stakes see small differences of many images, large ones see large differences of few."""


def anytime_p_values(differences: npt.ArrayLike) -> Floats:
    """[pairs]: p-values of "the mean difference is 0" that are valid whenever one stops.

    differences: [pairs, images so far] in [-1,1], in the board's random order. Raises ValueError for others.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 2 or not ((d >= -1) & (d <= 1)).all():
        raise ValueError(f"expected differences [pairs, images] in [-1,1], but got shape {list(d.shape)} or others")
    return np.array([_least_p_value(row[row != 0]) for row in d], dtype=np.float64)


def anytime_p_above(values: npt.ArrayLike, mean: float) -> float:
    """The p-value of "the mean is at most `mean`", valid whenever one stops: small where the values lie above it.

    values: [images so far] in [0,1], in the board's random order, of any distribution. mean: in [0,1).
    Raises ValueError for others.
    """
    x = require_unit_values(values)
    if not 0 <= mean < 1:
        raise ValueError(f"expected a mean in [0,1), but got {mean!r}; nothing lies above 1")
    if mean == 0:
        return 0.0 if x.any() else 1.0
    return _least_p_value(x / mean - 1, STAKES[STAKES > 0])


def _least_p_value(d: Floats, stakes: Floats = STAKES) -> float:
    """1 over the largest capital so far of bets on d; images of 0 leave the capital as it is."""
    if d.size == 0:
        return 1.0
    capital = np.cumsum(np.log1p(stakes[:, np.newaxis] * d), axis=1)
    top = capital.max(axis=0)
    mixed = top + np.log(np.exp(capital - top).mean(axis=0))
    return float(np.exp(-max(float(mixed.max()), 0.0)))
