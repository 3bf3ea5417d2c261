"""Sequential tests by betting: p-values of a difference, or of a mean, that are valid at any stopping time.

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
"""Stakes of the mixture: small ones detect small differences of many images, large ones large differences of few."""


def anytime_p_values(differences: npt.ArrayLike) -> Floats:
    """Compute p-values of "the mean difference is 0" that are valid at any stopping time.

    Args:
        differences: [pairs, images so far] in [-1,1], in the board's random order.

    Returns:
        [pairs].

    Raises:
        ValueError: For another shape and values outside [-1,1].
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 2 or not ((d >= -1) & (d <= 1)).all():
        raise ValueError(
            f"expected differences [pairs, images] in [-1,1], but got shape {list(d.shape)} or other values"
        )
    return np.array([_least_p_value(row[row != 0]) for row in d], dtype=np.float64)


def anytime_p_above(values: npt.ArrayLike, mean: float) -> float:
    """Compute the p-value of "the mean is at most `mean`", valid at any stopping time.

    Args:
        values: [images so far] in [0,1], in the board's random order, of any distribution.
        mean: The mean under the null hypothesis, in [0,1).

    Returns:
        The p-value, which is small where the values lie above `mean`.

    Raises:
        ValueError: If values are not [n] in [0,1], or mean is outside [0,1).
    """
    x = require_unit_values(values)
    if not 0 <= mean < 1:
        raise ValueError(f"expected a mean in [0,1), but got {mean!r}; pass a fraction below 1")
    if mean == 0:
        return 0.0 if x.any() else 1.0
    return _least_p_value(x / mean - 1, STAKES[STAKES > 0])


def _least_p_value(d: Floats, stakes: Floats = STAKES) -> float:
    """Return 1 over the largest capital so far of bets on d; images of 0 leave the capital as it is."""
    if d.size == 0:
        return 1.0
    capital = np.cumsum(np.log1p(stakes[:, np.newaxis] * d), axis=1)
    top = capital.max(axis=0)
    mixed = top + np.log(np.exp(capital - top).mean(axis=0))
    return float(np.exp(-max(float(mixed.max()), 0.0)))
