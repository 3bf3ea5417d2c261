"""Where the noise of an accuracy comes from: from the images, from restarts of the attack, or from draws.

The random-effects analysis of variance: an answer is mean + image + restart in image + draw in restart, independent,
with variances s2_image, s2_restart and s2_draw. The mean squares of a balanced nested layout give each without
bias (Searle, Casella & McCulloch, Variance Components, 1992, chapter 3); one that comes out negative is 0. The mean
over n images, r restarts and m draws has the variance (s2_image + s2_restart / r + s2_draw / (r m)) / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Variances of one answer by where they come from, each >= 0; restarts is 0 where there was one restart."""

    images: float
    restarts: float
    draws: float

    @property
    def total(self) -> float:
        """The variance of a single answer."""
        return self.images + self.restarts + self.draws

    def of_mean(self, images: int, draws: int, restarts: int = 1) -> float:
        """The variance of the mean over that many images, with so many restarts each and draws for each restart."""
        return (self.images + self.restarts / restarts + self.draws / (restarts * draws)) / images

    def shares(self, draws: int, restarts: int = 1) -> tuple[float, float, float]:
        """The parts of the mean's variance that images, restarts and draws make; they sum to 1, or are all 0."""
        parts = (self.images, self.restarts / restarts, self.draws / (restarts * draws))
        whole = sum(parts)
        first, second, third = (part / whole if whole > 0 else 0.0 for part in parts)
        return first, second, third


def variance_parts(answers: npt.ArrayLike) -> VarianceParts:
    """The parts from the answers themselves.

    answers: [images, draws] or [images, restarts, draws], bool or numbers; at least 2 images and 2 draws. A single
    restart leaves its part at 0, for it cannot be told from the image's.
    Raises ValueError for another shape and for NaN.
    """
    values = np.asarray(answers, dtype=np.float64)
    if values.ndim == 2:
        values = values[:, np.newaxis]
    if values.ndim != 3 or values.shape[0] < 2 or values.shape[1] < 1 or values.shape[2] < 2:
        raise ValueError(
            f"expected answers [images, draws] or [images, restarts, draws] with at least 2 images and 2 draws, but "
            f"got shape {list(np.shape(answers))}; make more draws: one draw does not tell itself from its image"
        )
    if not np.isfinite(values).all():
        raise ValueError("expected answers that are finite, but got NaN or infinity; leave failed images out")
    images, restarts, draws = values.shape
    of_restart, of_image = values.mean(axis=2), values.mean(axis=(1, 2))
    within = float(((values - of_restart[..., np.newaxis]) ** 2).sum()) / (images * restarts * (draws - 1))
    between = float(((of_image - of_image.mean()) ** 2).sum()) * restarts * draws / (images - 1)
    if restarts == 1:
        return VarianceParts(max((between - within) / draws, 0.0), 0.0, within)
    middle = float(((of_restart - of_image[:, np.newaxis]) ** 2).sum()) * draws / (images * (restarts - 1))
    return VarianceParts(
        images=max((between - middle) / (restarts * draws), 0.0),
        restarts=max((middle - within) / draws, 0.0),
        draws=within,
    )
