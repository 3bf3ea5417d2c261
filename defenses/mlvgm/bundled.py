"""The bundled MLVGM purifier, by name."""

from __future__ import annotations

from collections.abc import Sequence

from purebench.defenses.checkpoints import load
from purebench.defenses.mlvgm.hvae import HVAE
from purebench.defenses.mlvgm.purifier import MLVGMPurifier


def hvae(
    *,
    weights: str = "fashion-hvae",
    schedule: str | Sequence[float] = "cosine",
    attenuation: float = 0.7,
    blur: float = 0.0,
    noise: float = 0.0,
) -> MLVGMPurifier:
    """MLVGM purification by a hierarchical VAE: fine latents resampled, coarse ones kept (Serez et al. 2025)."""
    model = load(weights, "hvae", HVAE)
    return MLVGMPurifier(model, schedule=schedule, attenuation=attenuation, blur=blur, noise=noise)
