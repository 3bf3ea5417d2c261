"""The result of an inspection: the effect of each latent on the accuracy, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from purebench.data.datasets import Array
from purebench.statistics import Estimate

MEANING = {
    "resampled": "accuracy with this latent alone resampled",
    "difference": "that accuracy minus the reconstruction's, on the same images",
    "from_here": "accuracy with this latent and all finer ones resampled",
    "alone": "accuracy with this latent alone kept, all others resampled",
    "distance": "mean l2 distance from the reconstruction when this latent alone is resampled",
    "change": "mean |change| of the classifier's margin when this latent alone is resampled",
    "slope": (
        "first-order approximation of the change: mean |d margin / d latent · (sampled - encoded)| at the "
        "reconstruction"
    ),
}
"""Meaning of the numbers of a latent. The margin is the label's logit less the largest other one."""
KEPT = {
    False: (
        "kept latents are encoded again given those above them, as in purification, which corrects some of the "
        "resampling"
    ),
    True: "kept latents keep their codes from the reconstruction",
}
"""Treatment of the latents that are not resampled, by `hold`."""


@dataclass(frozen=True)
class LatentEffect:
    """The numbers of one latent; MEANING describes them.

    Attributes:
        latent: Number of the latent, from 0, coarse to fine.
        kept: Share of the latent that purification keeps.
        resampled: Accuracy with this latent alone resampled.
        difference: `resampled` less the reconstruction's accuracy, on the same images.
        from_here: Accuracy with this latent and all finer ones resampled.
        alone: Accuracy with this latent alone kept.
        distance: Mean l2 distance from the reconstruction with this latent alone resampled.
        change: Mean |change| of the classifier's margin with this latent alone resampled.
        slope: The same change by gradient; None if the classifier passes no gradient.
    """

    latent: int
    kept: float
    resampled: Estimate
    difference: Estimate
    from_here: Estimate
    alone: Estimate
    distance: Estimate
    change: Estimate
    slope: Estimate | None


@dataclass(frozen=True)
class Pictures:
    """Columns of pictures: the original, its reconstruction, purified, and with each latent alone resampled.

    Attributes:
        names: Names of the columns.
        images: [columns,R,C,H,W] in [0,1].
        changes: [columns,H,W], mean |difference| over images, draws and channels: of the reconstruction from the
            original, of the columns after it from the reconstruction.
        distances: [columns], the mean l2 distance between the same images.
    """

    names: tuple[str, ...]
    images: Array
    changes: Array
    distances: Array


@dataclass(frozen=True)
class Inspection:
    """Accuracies of a classifier on versions of the images, and the effect of each latent.

    Attributes:
        draws: Number of draws of everything that is random.
        seed: Seed of the draws.
        hold: Whether kept latents hold their codes, see KEPT.
        clean: Accuracy on the images.
        reconstructed: Accuracy on their reconstructions.
        purified: Accuracy on the purified images.
        generated: Accuracy with all latents resampled.
        latents: Effects by latent, coarse to fine.
        pictures: Pictures of some images.
    """

    draws: int
    seed: int
    hold: bool
    clean: Estimate
    reconstructed: Estimate
    purified: Estimate
    generated: Estimate
    latents: tuple[LatentEffect, ...]
    pictures: Pictures

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the pictures."""
        rates = {name: getattr(self, name).to_dict() for name in ("clean", "reconstructed", "purified", "generated")}
        latents = [
            {name: value.to_dict() if isinstance(value, Estimate) else value for name, value in vars(finding).items()}
            for finding in self.latents
        ]
        settings = {"draws": self.draws, "seed": self.seed, "kept": KEPT[self.hold], "meaning": MEANING}
        return {**settings, **rates, "latents": latents}
