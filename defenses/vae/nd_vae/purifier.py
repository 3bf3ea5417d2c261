"""Purification by ND-VAE: noise, then the clean image that it expects, from a trained start or from a random one.

The network is that of Serez et al. 2025 (arXiv:2412.03453).
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import load
from purebench.defenses.mlvgm.hvae import Normal
from purebench.defenses.vae.nd_vae.network import NDVAE
from purebench.defenses.vae.presets import official, task

BUNDLED = "fashion-nd-vae"
NOISE = 0.05
"""What the bundled weights were trained with."""


class NDVAEPurifier(Purifier):
    """Gaussian noise, clamped to [0,1], then the mean of the clean image's distribution under sampled latents.

    noise: its standard deviation in units of [0,1]. seed: None for the trained start of the decoder; a number to draw
    it, uniform in [0,1), anew from that seed, as the release does whenever it loads the weights.
    Raises PurebenchError for a noise that is negative, or without a seed for weights that hold no start.
    """

    random = True

    def __init__(self, model: NDVAE, *, noise: float, seed: int | None = None):
        super().__init__()
        if not noise >= 0:
            raise PurebenchError(f"nd-vae: expected noise of at least 0, but got {noise}.")
        if seed is None and model.start is None:
            raise PurebenchError(
                "nd-vae: expected weights with 'decoder.h', which the decoder starts from, but they have none: the "
                "release never trains or saves it; use nd-vae-released, which draws it from a seed."
            )
        self.model, self.noise, self.seed = model, noise, seed

    def start(self, top: Tensor) -> Tensor:
        """What the decoder starts from, [C,h,w], for features [N,C,h,w]; the global generators are left alone."""
        if self.seed is None:
            assert self.model.start is not None
            return self.model.start
        drawn = torch.rand(top.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        return drawn.to(top)

    def forward(self, x: Tensor) -> Tensor:
        """Purified images."""
        noisy = (x + self.noise * torch.randn_like(x)).clamp(0, 1)
        features = self.model.features(noisy)
        return self.model.decode(features, self.start(features[0]), _sampled).mean()


def _sampled(posterior: Normal, prior: Normal) -> Tensor:
    """The posterior is always sampled."""
    return posterior.sample()


def nd_vae(*, name: str | None = None, weights: str | None = None, noise: float | None = None) -> NDVAEPurifier:
    """ND-VAE as it is meant: what the decoder starts from is trained with it and kept; bundled, or nd-vae/TASK.

    nd-vae/gender, ids and cars need files of somebody who mended the training: the published ones hold no start. name:
    a task. weights: another file. noise: None for what the weights were trained with (Serez et al. 2025: 0.05 to 0.1).
    """
    model, usual = _model("nd-vae", name, weights)
    return NDVAEPurifier(model, noise=usual if noise is None else noise)


def nd_vae_released(
    *, name: str | None = None, weights: str | None = None, noise: float | None = None, seed: int = 0
) -> NDVAEPurifier:
    """ND-VAE as Serez et al. 2025 release it: its decoder starts from random numbers; bundled, or nd-vae-released/TASK.

    In the release they are never trained nor saved but drawn anew at each load, here from `seed`, so the network meets
    others than in training. The bundled weights are those of `nd-vae`, whose trained start is thrown away: the network
    was trained with a start that moved, the release's with one that was fixed. name: a task (gender, ids, cars).
    """
    model, usual = _model("nd-vae-released", name, weights)
    return NDVAEPurifier(model, noise=usual if noise is None else noise, seed=seed)


def _model(who: str, name: str | None, weights: str | None) -> tuple[NDVAE, float]:
    """The bundled model, or a task's, and its noise."""
    if name is None:
        return load(weights or BUNDLED, "nd-vae", NDVAE), NOISE
    model = official(who, "nd-vae", name, weights)
    assert isinstance(model, NDVAE)
    return model, float(task(who, name)["nd-vae"]["noise"])
