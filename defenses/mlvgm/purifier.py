"""Purification with a multiple-latent-variable model (Serez et al., WACV 2025, arXiv:2412.03453).

Fine latents, which carry an adversarial perturbation, are moved towards fresh samples; coarse ones, which carry the
class, are kept: z_i = (1 - alpha_i)·encoded_i + alpha_i·sampled_i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from purebench.core.defense import LatentPurifier, Purifier
from purebench.core.errors import PurebenchError
from purebench.core.parameters import Positive, checked
from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.schedules import alphas
from purebench.defenses.transforms.simple import gaussian_blur


class MLVGMPurifier(LatentPurifier):
    """Purifier with any MLVGM and any schedule of alphas.

    Args:
        model: the generative model.
        schedule: a name of `schedules.SCHEDULES` or a list of alphas, coarse to fine. A list is part of the fingerprint
            of the weights, because it may come from a file.
        attenuation: factor on all alphas.
        blur: standard deviation in pixels of a Gaussian blur before encoding, 0 for none.
        noise: l2 norm of a Gaussian noise vector, scaled to exactly this norm for each image and added before encoding
            (the result is clamped), 0 for none.
        clamp: whether purified images are clamped to [0,1]. The release gives the classifier the decoder's images as
            they are (`clamp=False`). Where an image is outside, the clamp's gradient is zero.

    Raises:
        PurebenchError: If the schedule does not fit the model, or blur or noise is negative or not finite.
    """

    def __init__(
        self,
        model: MLVGM,
        *,
        schedule: str | Sequence[float] = "cosine",
        attenuation: float = 0.7,
        blur: float = 0.0,
        noise: float = 0.0,
        clamp: bool = True,
    ):
        super().__init__()
        if not (0 <= blur < math.inf and 0 <= noise < math.inf):
            raise PurebenchError(f"mlvgm: expected finite blur and noise of at least 0, but got {blur} and {noise}.")
        self.model, self.blur, self.noise, self.clamp = model, blur, noise, clamp
        self.alphas = alphas(schedule, model.latents, attenuation)
        if not isinstance(schedule, str):
            self.register_buffer("listed", torch.tensor(self.alphas, dtype=torch.float64))
        self.random = noise > 0 or any(alpha > 0 for alpha in self.alphas)

    @property
    def kept(self) -> list[float]:
        """1 - alpha_i of every latent, coarse to fine."""
        return [1 - alpha for alpha in self.alphas]

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode the image with the model, blurred but without noise; the result is clamped if `clamp` is set."""
        return self._clamped(self.model.autoencode(self.blurred(x), mix))

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the model's posteriors for the image, blurred but without noise."""
        return self.model.posteriors(self.blurred(x))

    def with_alphas(self, alphas: Sequence[float]) -> MLVGMPurifier:
        """Return a purifier with the same model, blur, noise and clamp, and other alphas in [0,1], one per latent."""
        same = {"blur": self.blur, "noise": self.noise}
        return MLVGMPurifier(self.model, schedule=alphas, attenuation=1.0, clamp=self.clamp, **same)

    def mix(self, i: int, encoded: Tensor, sampled: Tensor) -> Tensor:
        """Return (1 - alpha_i)·encoded + alpha_i·sampled."""
        alpha = self.alphas[i]
        return (1 - alpha) * encoded + alpha * sampled

    def blurred(self, x: Tensor) -> Tensor:
        """Apply the deterministic part of the preparation, the blur."""
        return gaussian_blur(x, self.blur) if self.blur else x

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images, clamped to [0,1] if `clamp` is set."""
        x = self.blurred(x)
        if self.noise:
            x = (x + fixed_norm_noise(x, self.noise)).clamp(0, 1)
        return self._clamped(self.model.autoencode(x, self.mix))

    def _clamped(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) if self.clamp else x


class FixedNormNoise(Purifier):
    """Fresh Gaussian noise of a fixed l2 norm, clamped to [0,1]: the paper's ablation without a model.

    Args:
        norm: l2 norm of the noise of each image.

    Raises:
        PurebenchError: If the norm is not a finite number above 0.
    """

    random = True

    @checked("fixed-norm-noise")
    def __init__(self, norm: Positive):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Return noisy images."""
        return (x + fixed_norm_noise(x, self.norm)).clamp(0, 1)


def fixed_norm_noise(x: Tensor, norm: float) -> Tensor:
    """Return Gaussian noise like x, scaled so that the noise of each image has exactly this l2 norm.

    Args:
        x: images [N,C,H,W].
        norm: l2 norm in the units of x.
    """
    noise = torch.randn_like(x)
    scaled: Tensor = noise * (norm / noise.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1)))
    return scaled
