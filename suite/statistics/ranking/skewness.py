"""A guard for sign-flip tests of skewed differences: it tests the mean itself, for any distribution.

Sign flips test that differences are as likely d as -d. Two rows of equal accuracy need not be like that: a row that is
right on 98 % of the draws of every image, against one that is always right on 98 % of the images and always wrong on
the others, differs by -0.02 on most images and by +0.98 on a few. Where no such image is among the 48 of a board, all
differences have one sign, and sign flips distinguish the two. They do so on 39 to 69 % of such boards.

The guard is the one-sided `mean_p_value` of the differences, which allows for images that were not seen. It holds for
any distribution. A difference counts where both the sign flips and the guard reject. Differences of 0/1 answers need
no guard, as equal accuracy makes them symmetric: d = 1 is then as likely as d = -1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.intervals.gaffke import mean_p_value

Floats = npt.NDArray[np.float64]

GUARD_SHARE = 1.5
"""The guard has a level of at most alpha/1.5, because its errors and those of the sign flips add up. Simulated: with 1,
a row that is nearly constant is distinguished from 0/1 rows of equal accuracy on 6.9 % of boards; with 1.5, on 4.3 %.
"""


def guard_p_values(differences: npt.ArrayLike) -> Floats:
    """Test that the mean difference is 0 or has the opposite sign to the observed one.

    Args:
        differences: [comparisons, images] in [-1,1], of the same images.

    Returns:
        [comparisons]: one-sided p-values; 0 for differences that are all -1, 0 or 1, which sign flips test exactly.
    """
    return np.array([_guard(row) for row in np.asarray(differences, dtype=np.float64)], dtype=np.float64)


def _guard(d: Floats) -> float:
    if np.isin(d, (-1.0, 0.0, 1.0)).all():
        return 0.0
    seen = d if d.sum() >= 0 else -d
    return mean_p_value((1 + seen) / 2, 0.5)
