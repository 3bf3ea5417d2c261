"""The bundled MLVGM purifiers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from purebench.core.defense.listed import listed
from purebench.core.parameters import NonNegative, checked
from purebench.defenses.checkpoints import load
from purebench.defenses.mlvgm import schedules
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.purifier import MLVGMPurifier

Schedule = str | Sequence[float]
ATTENUATION = 0.7
"""The paper's factor on its alphas for images of 64 and 128 pixels."""


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Serez et al. 2025, arXiv:2412.03453",
)
def hvae(
    *,
    weights: str = "fashion-hvae",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
) -> MLVGMPurifier:
    """Purify with a hierarchical VAE: fine latents are resampled, coarse ones kept (MLVGM, Serez et al. 2025).

    Args:
        weights: a bundled name or a .safetensors file.
        schedule: name of a schedule, `learned` for the one that a search found for these weights, or a list of alphas.
        attenuation: factor on all alphas; None for that of the learned schedule, else 0.7.
        blur: standard deviation in pixels of a Gaussian blur before encoding, 0 for none.
        noise: l2 norm of Gaussian noise added before encoding, 0 for none.
    """
    from purebench.defenses.mlvgm.hvae import HVAE

    return _purifier(weights, "hvae", HVAE, schedule, attenuation, blur, noise)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Serez et al. 2025, arXiv:2412.03453",
)
@checked("nvae")
def nvae(
    *,
    weights: str = "fashion-nvae",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
    temperature: NonNegative | None = None,
) -> MLVGMPurifier:
    """Purify with an NVAE: fine latents are resampled, coarse ones kept (MLVGM, Serez et al. 2025).

    Args:
        weights: a bundled name or a .safetensors file.
        schedule: name of a schedule, `learned` for the one that a search found for these weights, or a list of alphas.
        attenuation: factor on all alphas; None for that of the learned schedule, else 0.7.
        blur: standard deviation in pixels of a Gaussian blur before encoding, 0 for none.
        noise: l2 norm of Gaussian noise added before encoding, 0 for none.
        temperature: temperature of the samples; None for that of the weights.
    """
    from purebench.defenses.mlvgm.nvae.model import NVAE

    made = _purifier(weights, "nvae", NVAE, schedule, attenuation, blur, noise)
    if temperature is not None:
        made.model.temperature = float(temperature)  # type: ignore[assignment]
    return made


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Serez et al. 2025, arXiv:2412.03453",
)
def stylegan(
    *,
    weights: str = "fashion-stylegan",
    schedule: Schedule = "cosine",
    attenuation: float | None = None,
    blur: float = 0.0,
    noise: float = 0.0,
) -> MLVGMPurifier:
    """Purify with a small StyleGAN2 and its encoder: late codes are resampled, early ones kept (MLVGM).

    Args:
        weights: a bundled name or a .safetensors file.
        schedule: name of a schedule, `learned` for the one that a search found for these weights, or a list of alphas.
        attenuation: factor on all alphas; None for that of the learned schedule, else 0.7.
        blur: standard deviation in pixels of a Gaussian blur before encoding, 0 for none.
        noise: l2 norm of Gaussian noise added before encoding, 0 for none.
    """
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
    """Build a purifier; the schedule `learned` is looked up by the name of the weights."""
    usual = ATTENUATION
    if schedule == "learned":
        schedule, usual = schedules.learned(weights)
    share = usual if attenuation is None else attenuation
    return MLVGMPurifier(load(weights, kind, build), schedule=schedule, attenuation=share, blur=blur, noise=noise)
