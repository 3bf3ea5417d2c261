"""Whether two differ, asked after every image: bets on a difference, whose p-values hold whenever one stops.

Under "equally good" the differences d_i in [-1,1] have mean 0, and so

    K_t = mean over stakes l of prod_{i<=t} (1 + l d_i)

is a martingale from 1 that ever reaches 1/alpha with probability at most alpha (Ville): min_t 1/K_t is a p-value at any
time. The mixture over stakes is the diversified bet of Waudby-Smith & Ramdas (JRSS-B 86, 2024, arXiv:2010.09686, §5);
for d in {-1,0,1}, a sequential McNemar test.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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


def _least_p_value(d: Floats) -> float:
    """1 over the largest capital so far; images that do not differ leave the capital as it is."""
    if d.size == 0:
        return 1.0
    capital = np.cumsum(np.log1p(STAKES[:, np.newaxis] * d), axis=1)
    top = capital.max(axis=0)
    mixed = top + np.log(np.exp(capital - top).mean(axis=0))
    return float(np.exp(-max(float(mixed.max()), 0.0)))
