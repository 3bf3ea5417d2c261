"""Purification by A-VAE: what the decoder makes of a small copy of the image, once as meant and once as released.

The network is that of Serez et al. 2025 (arXiv:2412.03453).
"""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import load
from purebench.defenses.vae.a_vae.network import AVAE, Chance, Encoded
from purebench.defenses.vae.presets import official

BUNDLED = "fashion-a-vae"
RELEASED_TEMPERATURE = 0.6


class AVAEPurifier(Purifier):
    """The sample of the decoder that is nearest to the image it is given, of `samples` fresh ones.

    The nearest is picked image by image in squared distance, as the original A-VAE does with 128. Which one it is
    changes almost nowhere, so the gradient through the one picked is the exact one; no other is differentiated.
    temperature: factor on the deviation of the code.
    Raises PurebenchError for fewer than one sample, or a temperature that is negative.
    """

    random = True

    def __init__(self, model: AVAE, *, samples: int, temperature: float):
        super().__init__()
        if not isinstance(samples, int) or samples < 1 or not temperature >= 0:
            raise PurebenchError(
                "a-vae: expected at least 1 sample, a whole number, and a temperature of at least 0, "
                f"but got samples {samples!r}, temperature {temperature}."
            )
        self.model, self.samples, self.temperature = model, samples, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Purified images, clamped to [0,1] (the release does not clamp)."""
        encoded = self.model.encode(x)
        chance = self.model.chance(encoded)
        if self.samples > 1:
            chance = self.nearest(x, encoded, chance)
        return self.model.decode(encoded, chance, self.temperature).clamp(0, 1)

    @torch.no_grad()
    def nearest(self, x: Tensor, encoded: Encoded, first: Chance) -> Chance:
        """Of the first chance and samples - 1 more, for each image the one whose answer is nearest to it."""
        best, least = first, self.distance(x, encoded, first)
        for _ in range(self.samples - 1):
            other = self.model.chance(encoded)
            distance = self.distance(x, encoded, other)
            best = other.where(distance < least, best)
            least = torch.minimum(least, distance)
        return best

    def distance(self, x: Tensor, encoded: Encoded, chance: Chance) -> Tensor:
        """Mean squared difference of the answer and the image, [N]."""
        return (self.model.decode(encoded, chance, self.temperature) - x).square().mean((1, 2, 3))


def a_vae(
    *, name: str | None = None, weights: str | None = None, samples: int = 16, temperature: float = 1.0
) -> AVAEPurifier:
    """A-VAE as its authors use it: the nearest of several samples (the original takes 128); bundled, or a-vae/TASK.

    The bundled weights were trained with a reconstruction term, which neither the original nor the release has; those
    of the paper's tasks (gender, ids, cars) are official files, trained without. name: a task. weights: another file.
    """
    return AVAEPurifier(_model("a-vae", name, weights), samples=samples, temperature=temperature)


def a_vae_released(*, name: str | None = None, weights: str | None = None) -> AVAEPurifier:
    """A-VAE as Serez et al. 2025 evaluate it: one sample a pass, at temperature 0.6; bundled, or a-vae-released/TASK.

    Weaker than A-VAE is meant to be; faithful with the official files, a-vae-released/gender, ids and cars. The bundled
    weights are those of `a-vae`, trained with a reconstruction term that the release lacks: what is as released there
    is the purification, not the training. name: a task. weights: another file.
    """
    return AVAEPurifier(_model("a-vae-released", name, weights), samples=1, temperature=RELEASED_TEMPERATURE)


def _model(who: str, name: str | None, weights: str | None) -> AVAE:
    """The bundled model, or a task's."""
    if name is None:
        return load(weights or BUNDLED, "a-vae", AVAE)
    model = official(who, "a-vae", name, weights)
    assert isinstance(model, AVAE)
    return model
