"""Purification by A-VAE: a reconstruction from the downscaled image, in the original and in the released form.

The network is that of Serez et al. 2025 (arXiv:2412.03453).
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.parameters import Count, NonNegative, checked
from purebench.defenses.checkpoints import load
from purebench.defenses.vae.a_vae.network import AVAE, Chance, Encoded
from purebench.defenses.vae.a_vae.official import a_vae_from
from purebench.defenses.vae.presets import official

BUNDLED = "fashion-a-vae"
RELEASED_TEMPERATURE = 0.6


class AVAEPurifier(Purifier):
    """Purifier that returns the nearest of several fresh samples of the decoder.

    The nearest sample is chosen for each image by squared distance, as the original A-VAE does with 128. The choice is
    constant almost everywhere, so the gradient through the chosen sample is exact; the others are not differentiated.

    Args:
        model: the network.
        samples: number of samples, at least 1.
        temperature: factor on the standard deviation of the code, at least 0.
        clamp: whether purified images are clamped to [0,1]. The release gives the classifier the decoder's images as
            they are (`clamp=False`). Where an image is outside, the clamp's gradient is zero.

    Raises:
        PurebenchError: If a value is out of range.
    """

    random = True

    @checked("a-vae")
    def __init__(self, model: AVAE, *, samples: Count, temperature: NonNegative, clamp: bool = True):
        super().__init__()
        self.model, self.samples, self.temperature, self.clamp = model, samples, temperature, clamp

    def forward(self, x: Tensor) -> Tensor:
        """Return purified images, clamped to [0,1] if `clamp` is set."""
        encoded = self.model.encode(x)
        chance = self.model.chance(encoded)
        if self.samples > 1:
            chance = self.best_draw(x, encoded, chance)
        decoded = self.model.decode(encoded, chance, self.temperature)
        return decoded.clamp(0, 1) if self.clamp else decoded

    @torch.no_grad()
    def best_draw(self, x: Tensor, encoded: Encoded, first: Chance) -> Chance:
        """Choose, for each image, the draw whose sample is nearest to it.

        Args:
            x: images [N,C,H,W] in [0,1].
            encoded: output of the encoder.
            first: the first draw; samples - 1 more are made.

        Returns:
            The chosen draws.
        """
        best, least = first, self.distance(x, encoded, first)
        for _ in range(self.samples - 1):
            other = self.model.chance(encoded)
            distance = self.distance(x, encoded, other)
            best = other.where(distance < least, best)
            least = torch.minimum(least, distance)
        return best

    def distance(self, x: Tensor, encoded: Encoded, chance: Chance) -> Tensor:
        """Return the mean squared difference of the sample and the image, [N]."""
        return (self.model.decode(encoded, chance, self.temperature) - x).square().mean((1, 2, 3))


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=17,
    licence="MIT",
    source="after Serez et al. 2025, arXiv:2412.03453",
)
def a_vae(
    *, name: str | None = None, weights: str | None = None, samples: Count = 16, temperature: NonNegative = 1.0
) -> AVAEPurifier:
    """Purify with A-VAE as its authors use it: the nearest of several samples; bundled, or a-vae/TASK.

    The bundled weights were trained with a reconstruction term, which neither the original nor the release has. The
    weights for the paper's tasks (gender, ids, cars) are official files, trained without it.

    Args:
        name: a task; None for the bundled weights.
        weights: another file.
        samples: number of samples; the original takes 128.
        temperature: factor on the standard deviation of the code.
    """
    return AVAEPurifier(_model("a-vae", name, weights), samples=samples, temperature=temperature)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Serez et al. 2025, arXiv:2412.03453",
)
def a_vae_released(*, name: str | None = None, weights: str | None = None, clamp: bool = True) -> AVAEPurifier:
    """Purify with A-VAE as Serez et al. 2025 evaluate it: one sample, temperature 0.6; bundled, or a-vae-released/TASK.

    This is weaker than the original A-VAE. It is faithful with the official files, a-vae-released/gender, ids and cars.
    The bundled weights are those of `a-vae`, trained with a reconstruction term that the release lacks: with them, only
    the purification is as released, not the training.

    Args:
        name: a task; None for the bundled weights.
        weights: another file.
        clamp: whether purified images are clamped to [0,1]; the release does not (`clamp=False`). Where an image is
            outside, the clamp's gradient is zero.
    """
    model = _model("a-vae-released", name, weights)
    return AVAEPurifier(model, samples=1, temperature=RELEASED_TEMPERATURE, clamp=clamp)


def _model(who: str, name: str | None, weights: str | None) -> AVAE:
    """Load the bundled model, or that of a task."""
    if name is None:
        return load(weights or BUNDLED, "a-vae", AVAE)
    model = official(who, "a-vae", a_vae_from, AVAE, name, weights)
    assert isinstance(model, AVAE)
    return model
