"""One door to the intervals for an accuracy: values by image in, an estimate out, the method chosen by name.

A new method is one function and one line in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from purebench.statistics.betting import betting
from purebench.statistics.estimate import Estimate, require_unit_values
from purebench.statistics.proportions import clopper_pearson, wilson

Maker = Callable[[npt.NDArray[np.float64], float], Estimate]
"""values [n] in [0,1], one per image, and the confidence → the estimate of their mean."""


def interval(values: npt.ArrayLike, method: str, confidence: float = 0.95) -> Estimate:
    """The mean of `values` with its confidence interval.

    values: [n] in [0,1], one per image: 0 or 1 for a deterministic defense, the fraction of right draws for a
        random one. In the board's random image order, which "betting" depends on.
    method: a name in `METHODS`. "clopper-pearson" and "wilson" take 0/1 values alone; "betting" takes any.
    confidence: in (0,1).
    Raises ValueError for an unknown method (naming the known ones), values that are not [n] in [0,1], values
    that are not 0/1 where the method needs them, and a confidence outside (0,1).
    """
    maker = METHODS.get(method)
    if maker is None:
        raise ValueError(f"expected method to be one of {', '.join(sorted(METHODS))}, but got {method!r}")
    return maker(require_unit_values(values), confidence)


def _of_successes(name: str, proportion: Callable[[int, int, float], Estimate]) -> Maker:
    """`proportion`, which counts successes, as a maker that takes 0/1 values and refuses others."""

    def maker(values: npt.NDArray[np.float64], confidence: float) -> Estimate:
        between = (values != 0) & (values != 1)
        if between.any():
            first = int(np.argmax(between))
            raise ValueError(
                f"expected 0/1 values for {name!r}, but got {values[first]} for image {first} "
                f"({int(between.sum())} of {values.size} values are neither); "
                'use method="betting" for fractions of draws'
            )
        return proportion(int(values.sum()), values.size, confidence)

    return maker


METHODS: dict[str, Maker] = {
    "clopper-pearson": _of_successes("clopper-pearson", clopper_pearson),
    "wilson": _of_successes("wilson", wilson),
    "betting": betting,
}
