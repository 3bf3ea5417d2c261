"""Computes an interval for an accuracy by the name of its method, from one value per image.

A new method is one function and one line in a table. Those in `METHODS` have their nominal coverage: 95 % is at least
94.5 % for every mean from 0.02 to 0.98 and 20 to 2,000 images, for yes/no answers and for fractions of draws whose
probability differs from image to image (docs/statistics.md says which is proved and which is simulated). Those in
`APPROXIMATE`, of the textbooks, have it on average only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate, require_unit_values
from purebench.statistics.intervals.bernstein import empirical_bernstein, empirical_bernstein_sequence
from purebench.statistics.intervals.betting import betting, betting_at_any_time
from purebench.statistics.intervals.bootstrap import bca
from purebench.statistics.intervals.gaffke import gaffke
from purebench.statistics.intervals.proportions import (
    agresti_coull,
    clopper_pearson,
    jeffreys,
    wilson,
    wilson_corrected,
)

Floats = npt.NDArray[np.float64]
Maker = Callable[[Floats, float], Estimate]
"""A function of values [n] in [0,1], one per image, and the confidence that returns the estimate of their mean."""


def interval(values: npt.ArrayLike, method: str, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of values with a confidence interval.

    Args:
        values: [n] in [0,1], one per image: 0 or 1 for a deterministic defense, the fraction of right draws for a
            random one. In the board's random image order, on which the methods of `IN_ORDER` depend; the others do not.
        method: A name in `METHODS` or `APPROXIMATE`. The intervals for a proportion take 0/1 values only; "gaffke",
            "betting", the bootstrap and empirical Bernstein take any. A sequence gives its last interval, which is
            valid at any stopping time.
        confidence: In (0,1).

    Returns:
        The mean with its interval.

    Raises:
        ValueError: For an unknown method (the message names the known ones), values that are not [n] in [0,1], values
            that are not 0/1 where the method needs them, and a confidence outside (0,1).
    """
    maker = METHODS.get(method) or APPROXIMATE.get(method)
    if maker is None:
        raise ValueError(f"expected method to be one of {', '.join(sorted(METHODS | APPROXIMATE))}, but got {method!r}")
    return maker(require_unit_values(values), confidence)


def _of_successes(name: str, proportion: Callable[[int, int, float], Estimate]) -> Maker:
    """Wrap `proportion`, which takes a number of successes, as a maker that takes 0/1 values and refuses others."""

    def maker(values: Floats, confidence: float) -> Estimate:
        between = (values != 0) & (values != 1)
        if between.any():
            first = int(np.argmax(between))
            raise ValueError(
                f"expected 0/1 values for {name!r}, but got {values[first]} for image {first} "
                f"({int(between.sum())} of {values.size} values are neither); "
                'use method="gaffke" for fractions of draws'
            )
        return proportion(int(values.sum()), values.size, confidence)

    return maker


def _at_the_end(name: str, sequence: Callable[[Floats, float], tuple[Floats, Floats]]) -> Maker:
    """Return a maker of the last interval of a confidence sequence, widened to hold the mean where it does not."""

    def maker(values: Floats, confidence: float) -> Estimate:
        low, high = sequence(values, confidence)
        mean = float(values.mean())
        return Estimate(mean, min(float(low[-1]), mean), max(float(high[-1]), mean), confidence, values.size, name)

    return maker


METHODS: dict[str, Maker] = {
    "clopper-pearson": _of_successes("clopper-pearson", clopper_pearson),
    "wilson": _of_successes("wilson", wilson),
    "wilson-cc": _of_successes("wilson-cc", wilson_corrected),
    "jeffreys": _of_successes("jeffreys", jeffreys),
    "agresti-coull": _of_successes("agresti-coull", agresti_coull),
    "gaffke": gaffke,
    "betting": betting,
    "betting-sequence": betting_at_any_time,
    "empirical-bernstein": empirical_bernstein,
    "empirical-bernstein-sequence": _at_the_end("empirical-bernstein-sequence", empirical_bernstein_sequence),
    "bca": bca,
}
"""Methods with their nominal coverage."""

APPROXIMATE: dict[str, Maker] = {
    "wilson-approximate": _of_successes("wilson-approximate", partial(wilson, calibrated=False)),
    "jeffreys-approximate": _of_successes("jeffreys-approximate", partial(jeffreys, calibrated=False)),
    "agresti-coull-approximate": _of_successes("agresti-coull-approximate", partial(agresti_coull, calibrated=False)),
    "bca-approximate": partial(bca, calibrate=False),
}
"""Textbook methods, which may cover less than they say; for comparison with published numbers."""

IN_ORDER = frozenset({"betting", "betting-sequence", "empirical-bernstein-sequence"})
"""Methods whose interval depends on the order of the values, which must be random."""


def interval_method(deterministic: bool, anytime: bool = False) -> str:
    """Return the name of the interval method for a deterministic or random defense.

    Args:
        deterministic: Whether the same image always gets the same answer.
        anytime: Whether the interval must be valid at any stopping time.

    Returns:
        A name in `METHODS`.
    """
    if anytime:
        return "betting-sequence"
    return "clopper-pearson" if deterministic else "gaffke"
