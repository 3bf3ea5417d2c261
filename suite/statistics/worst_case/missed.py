"""Estimates what some attacks miss and others find, image by image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.worst_case.split_draws import require_bool

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def missed_per_image(some: Bools, others: Bools) -> Floats:
    """Estimate how far the accuracy under the worst of some attacks lies above that under the worst of others.

    For image i let a[i] and b[i] be the smallest probability of a right draw under `some` and under `others`. With one
    draw (a deterministic defense) the result is max(0, a[i] - b[i]), without an error. With more, it lies below that
    in expectation, so a lower bound of its mean is one of the mean of max(0, a[i] - b[i]): one half of the draws picks
    the attack of `others` and decides whether it is below all of `some`. If so, the other half scores the difference
    between the smallest fraction under `some`, which lies below a[i] in expectation, and that under the picked
    attack, whose probability is at least b[i]. The halves then change places, and the two scores are averaged.

    Args:
        some: bool [attacks, images, draws], whether a draw was right under the attacks that may miss something.
        others: bool [other attacks, images, draws], the same of attacks that may find it.

    Returns:
        [images] in [-1,1], and in [0,1] with one draw.

    Raises:
        ValueError: For another shape or dtype, and for other images or draws of the two.
    """
    some, others = (
        require_bool(right, name, ("attacks", "images", "draws"))
        for right, name in ((some, "some"), (others, "others"))
    )
    if some.shape[1:] != others.shape[1:]:
        raise ValueError(
            f"expected equally many images and draws, but got {list(some.shape[1:])} for some and "
            f"{list(others.shape[1:])} for the others; pass both for the same images"
        )
    if some.shape[2] == 1:
        return np.maximum(0.0, some.min(axis=0)[:, 0] * 1.0 - others.min(axis=0)[:, 0])
    halves = [(some[:, :, start::2].mean(axis=2), others[:, :, start::2].mean(axis=2)) for start in (0, 1)]
    images = np.arange(some.shape[1])
    scores = []
    for picking, scoring in (halves, halves[::-1]):
        pick = picking[1].argmin(axis=0)
        below = picking[1].min(axis=0) < picking[0].min(axis=0)
        scores.append(np.where(below, scoring[0].min(axis=0) - scoring[1][pick, images], 0.0))
    return np.asarray(sum(scores) / 2, dtype=np.float64)
