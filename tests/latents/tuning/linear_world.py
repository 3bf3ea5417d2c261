"""A purifier, a classifier and images under which the robust accuracy of every list of alphas is known in closed form.

Image of class y = ±1: pixel i is 0.5 + y·SIGNAL_i + SPREAD·noise. Latent i is pixel i, its sample 0.5 +
SAMPLE·noise; the classifier takes the sign of the sum of all pixels less 0.5. Against linf attacks of radius eps each
kept pixel contributes SIGNAL_i - eps, so a latent with less signal than the radius should be resampled entirely.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm
from torch import nn

from purebench.core.defense import LatentPurifier
from purebench.data.datasets import ImageSet

SIGNAL = (0.10, 0.08, 0.02, 0.0, 0.01)
SPREAD, SAMPLE = 0.06, 0.05
EPS = 0.05


def robust(alphas, eps=EPS):
    """Returns the probability that a draw is right under the optimal linf attack of radius eps."""
    alpha = np.asarray(alphas)
    kept = 1 - alpha
    return norm.cdf(
        (kept * (np.array(SIGNAL) - eps)).sum() / np.sqrt(((kept * SPREAD) ** 2 + (alpha * SAMPLE) ** 2).sum())
    )


def flat(alphas):
    """Returns the probability that a draw is right without an attack."""
    return robust(alphas, 0.0)


class Pixels(LatentPurifier):
    """A purifier in which every pixel is a latent."""

    random = False

    @property
    def kept(self):
        return [1.0] * len(SIGNAL)

    def autoencode(self, x, mix):
        return torch.cat(
            [mix(i, x[..., i : i + 1], 0.5 + SAMPLE * torch.randn_like(x[..., i : i + 1])) for i in range(len(SIGNAL))],
            -1,
        )

    def forward(self, x):
        return x


class Sign(nn.Module):
    """A classifier with logits ∓50·sum(x - 0.5)."""

    def forward(self, x):
        total = 50 * (x - 0.5).flatten(1).sum(1)
        return torch.stack([-total, total], 1)


def pixels():
    """Returns the purifier."""
    return Pixels()


def sign():
    """Returns the classifier."""
    return Sign()


def images(*, count=400, seed=0):
    """Returns images of alternating classes, more than EPS away from 0 and 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    clear = 0.5 + (2 * labels[:, None] - 1) * np.array(SIGNAL)
    noisy = (clear + SPREAD * rng.standard_normal(clear.shape)).clip(0.08, 0.92)
    return ImageSet("linear", np.round(noisy * 255).astype(np.uint8)[:, None, None], labels, ("a", "b"), "made")
