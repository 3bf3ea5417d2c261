"""Estimates the variance components of an accuracy: images, restarts of the attack, and draws.

The random-effects analysis of variance: an answer is mean + image + restart in image + draw in restart, independent,
with variances s2_image, s2_restart and s2_draw. The mean squares of a balanced nested layout give each without
bias (Searle, Casella & McCulloch, Variance Components, 1992, chapter 3); a negative estimate is set to 0. The mean
over n images, r restarts and m draws has the variance (s2_image + s2_restart / r + s2_draw / (r m)) / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Variance components of a single answer, each >= 0.

    Attributes:
        images: Variance between images.
        restarts: Variance between restarts of the attack on an image; 0 if there was one restart.
        draws: Variance between draws of a restart.
    """

    images: float
    restarts: float
    draws: float

    @property
    def total(self) -> float:
        """The variance of a single answer."""
        return self.images + self.restarts + self.draws

    def of_mean(self, images: int, draws: int, restarts: int = 1) -> float:
        """Compute the variance of the mean over images.

        Args:
            images: Number of images.
            draws: Number of draws of each restart.
            restarts: Number of restarts of each image.

        Returns:
            The variance of the mean.
        """
        return (self.images + self.restarts / restarts + self.draws / (restarts * draws)) / images

    def shares(self, draws: int, restarts: int = 1) -> tuple[float, float, float]:
        """Compute the shares of the mean's variance that are due to images, restarts and draws.

        Args:
            draws: Number of draws of each restart.
            restarts: Number of restarts of each image.

        Returns:
            The three shares, in this order; they sum to 1, or are all 0.
        """
        parts = (self.images, self.restarts / restarts, self.draws / (restarts * draws))
        whole = sum(parts)
        first, second, third = (part / whole if whole > 0 else 0.0 for part in parts)
        return first, second, third


def variance_parts(answers: npt.ArrayLike) -> VarianceParts:
    """Estimate the variance components from answers.

    Args:
        answers: [images, draws] or [images, restarts, draws], bool or numbers; at least 2 images and 2 draws. With a
            single restart its component is 0, because it cannot be separated from the image's.

    Returns:
        The components.

    Raises:
        ValueError: For another shape and for NaN.
    """
    values = np.asarray(answers, dtype=np.float64)
    if values.ndim == 2:
        values = values[:, np.newaxis]
    if values.ndim != 3 or values.shape[0] < 2 or values.shape[1] < 1 or values.shape[2] < 2:
        raise ValueError(
            "expected answers [images, draws] or [images, restarts, draws] with at least 2 images and 2 draws, but "
            f"got shape {list(np.shape(answers))}; use more draws: with a single draw, the variance of draws "
            "cannot be separated from that of images"
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
