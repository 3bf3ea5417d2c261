"""Purification by ND-VAE: noise, then the predicted clean image, with a trained or a random start of the decoder.

The network is that of Serez et al. 2025 (arXiv:2412.03453).
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import load
from purebench.defenses.mlvgm.hvae import Normal
from purebench.defenses.vae.nd_vae.network import NDVAE
from purebench.defenses.vae.nd_vae.official import nd_vae_from
from purebench.defenses.vae.presets import official, task

BUNDLED = "fashion-nd-vae"
NOISE = 0.05
"""Standard deviation of the noise that the bundled weights were trained with."""


class NDVAEPurifier(Purifier):
    """Gaussian noise, clamped to [0,1], then the mean of the clean image's distribution under sampled latents.

    Args:
        model: the network.
        noise: standard deviation of the noise in units of [0,1].
        seed: None for the trained start of the decoder; an integer to draw the start, uniform in [0,1), from that seed,
            as the release does whenever it loads the weights.

    Raises:
        PurebenchError: If the noise is negative, or there is no seed for weights without a start.
    """

    random = True

    def __init__(self, model: NDVAE, *, noise: float, seed: int | None = None):
        super().__init__()
        if not noise >= 0:
            raise PurebenchError(f"nd-vae: expected noise of at least 0, but got {noise}.")
        if seed is None and model.start is None:
            raise PurebenchError(
                "nd-vae: expected weights with the key 'decoder.h', the start of the decoder, but it is missing, as in "
                "the release, which does not save it; use nd-vae-released, which draws it from a seed."
            )
        self.model, self.noise, self.seed = model, noise, seed

    def start(self, top: Tensor) -> Tensor:
        """Return the start of the decoder, [C,h,w], for features [N,C,h,w]; global generators are not used."""
        if self.seed is None:
            assert self.model.start is not None
            return self.model.start
        drawn = torch.rand(top.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        return drawn.to(top)

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images."""
        noisy = (x + self.noise * torch.randn_like(x)).clamp(0, 1)
        features = self.model.features(noisy)
        return self.model.decode(features, self.start(features[0]), _sampled).mean()


def _sampled(posterior: Normal, prior: Normal) -> Tensor:
    """Return a sample of the posterior."""
    return posterior.sample()


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="after Serez et al. 2025, arXiv:2412.03453",
)
def nd_vae(*, name: str | None = None, weights: str | None = None, noise: float | None = None) -> NDVAEPurifier:
    """Purify with ND-VAE as intended: the start of the decoder is trained and stored; bundled, or nd-vae/TASK.

    nd-vae/gender, ids and cars need files from a corrected training, because the published ones contain no start.

    Args:
        name: a task; None for the bundled weights.
        weights: another file.
        noise: standard deviation of the noise; None for that of the training (Serez et al. 2025: 0.05 to 0.1).
    """
    model, usual = _model("nd-vae", name, weights)
    return NDVAEPurifier(model, noise=usual if noise is None else noise)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Serez et al. 2025, arXiv:2412.03453",
)
def nd_vae_released(
    *, name: str | None = None, weights: str | None = None, noise: float | None = None, seed: int = 0
) -> NDVAEPurifier:
    """Purify with ND-VAE as released by Serez et al. 2025: the decoder starts from random numbers; bundled, or /TASK.

    In the release the numbers are neither trained nor saved but drawn anew at each load (here from `seed`), so the
    network receives other ones than in training. The bundled weights are those of `nd-vae`, whose trained start is
    discarded: that network was trained with a changing start, the release's with a fixed one.

    Args:
        name: a task (gender, ids, cars), as nd-vae-released/TASK; None for the bundled weights.
        weights: another file.
        noise: standard deviation of the noise; None for that of the training.
        seed: seed of the start.
    """
    model, usual = _model("nd-vae-released", name, weights)
    return NDVAEPurifier(model, noise=usual if noise is None else noise, seed=seed)


def _model(who: str, name: str | None, weights: str | None) -> tuple[NDVAE, float]:
    """Load the bundled model, or that of a task, and its noise."""
    if name is None:
        return load(weights or BUNDLED, "nd-vae", NDVAE), NOISE
    model = official(who, "nd-vae", nd_vae_from, NDVAE, name, weights)
    assert isinstance(model, NDVAE)
    return model, float(task(who, name)["nd-vae"]["noise"])
