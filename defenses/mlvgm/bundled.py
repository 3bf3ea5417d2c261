"""The bundled MLVGM purifiers, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from purebench.defenses.checkpoints import load
from purebench.defenses.mlvgm import schedules
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.purifier import MLVGMPurifier

Schedule = str | Sequence[float]
ATTENUATION = 0.7
"""What the paper multiplies its alphas by on images of 64 and 128 pixels."""


def hvae(
    *,
    weights: str = "fashion-hvae",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
) -> MLVGMPurifier:
    """MLVGM purification by a hierarchical VAE: fine latents resampled, coarse ones kept (Serez et al. 2025)."""
    from purebench.defenses.mlvgm.hvae import HVAE

    return _purifier(weights, "hvae", HVAE, schedule, attenuation, blur, noise)


def nvae(
    *,
    weights: str = "fashion-nvae",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
    temperature: float | None = None,
) -> MLVGMPurifier:
    """MLVGM purification by an NVAE; temperature: of its samples, None for the weights' own (Serez et al. 2025)."""
    from purebench.defenses.mlvgm.nvae.model import NVAE, a_temperature

    made = _purifier(weights, "nvae", NVAE, schedule, attenuation, blur, noise)
    if temperature is not None:
        made.model.temperature = a_temperature(temperature)  # type: ignore[assignment]
    return made


def stylegan(
    *,
    weights: str = "fashion-stylegan",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
) -> MLVGMPurifier:
    """MLVGM purification by a small StyleGAN2 and its encoder: late codes resampled, early ones kept."""
    from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN

    return _purifier(weights, "small-stylegan", SmallStyleGAN, schedule, attenuation, blur, noise)


def _purifier(
    weights: str,
    kind: str,
    build: Callable[..., MLVGM],
    schedule: Schedule,
    attenuation: float | None,
    blur: float,
    noise: float,
) -> MLVGMPurifier:
    """schedule: `learned` is what a search found for these weights; attenuation: None for its own, or 0.7."""
    usual = ATTENUATION
    if schedule == "learned":
        schedule, usual = schedules.learned(weights)
    share = usual if attenuation is None else attenuation
    return MLVGMPurifier(load(weights, kind, build), schedule=schedule, attenuation=share, blur=blur, noise=noise)
