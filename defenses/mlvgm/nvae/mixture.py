"""NVAE's distribution of images: a mixture of discretised logistics (PixelCNN++, arXiv:1701.05517, section 2).

Layout of the M·(1 + 2C + C(C-1)/2) channels for images of C channels: M mixture logits, then for each mixture C means,
C log-scales and the coefficients (C = 3: green on red, blue on red, blue on green; C = 1: none).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAST_LOG_SCALE = -7.0
HALF_BIN = 1 / 255
"""Half the width of an 8-bit level, for images in [-1,1]."""


def parameters_a_pixel(mixtures: int, channels: int) -> int:
    """Return the number of channels of the mixture's parameters.

    Args:
        mixtures: number of components M.
        channels: channels of the images C.
    """
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


@dataclass(frozen=True)
class LogisticMixture:
    """Mixture of discretised logistics for each pixel, M components over images of C channels.

    Attributes:
        logits: logits of the components [N,M,1,H,W].
        means: means [N,M,C,H,W].
        log_scales: logarithms of the scales [N,M,C,H,W].
        coefficients: dependence of channels on earlier ones [N,M,C(C-1)/2,H,W], in (-1,1).
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor

    @classmethod
    def split(cls, raw: Tensor, mixtures: int, channels: int) -> LogisticMixture:
        """Build the mixture from the output of a network.

        Args:
            raw: output of the network [N,M·(…),H,W].
            mixtures: number of components M.
            channels: channels of the images C.
        """
        logits, rest = raw[:, :mixtures].unsqueeze(2), raw[:, mixtures:].reshape(len(raw), mixtures, -1, *raw.shape[2:])
        means, log_scales, coefficients = rest.tensor_split([channels, 2 * channels], dim=2)
        return cls(logits, means, log_scales.clamp_min(LEAST_LOG_SCALE), coefficients.tanh())

    def mean(self) -> Tensor:
        """Return images [N,C,H,W] in [0,1]: the means of the mixture, each channel shifted by those before it."""
        share = self.logits.softmax(1)
        levels = _shifted((share * self.means).sum(1), (share * self.coefficients).sum(1))
        return (torch.stack(levels, 1) + 1) / 2

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Compute the log-likelihood of 8-bit images; the lowest and highest level include the tails.

        It uses sigmoid(a) - sigmoid(b) = sigmoid(a)·sigmoid(-b)·(1 - exp(b - a)), which has no cancellation.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            log p of each image in nats, [N].
        """
        level = (2 * x - 1).unsqueeze(1)
        centred = level - self.means
        if x.shape[1] == 3:
            red, green = level[:, :, 0], level[:, :, 1]
            on_red, blue_on_red, blue_on_green = self.coefficients.unbind(2)
            shift = torch.stack([torch.zeros_like(on_red), on_red * red, blue_on_red * red + blue_on_green * green], 2)
            centred = centred - shift
        sharpness = (-self.log_scales).exp()
        below = functional.logsigmoid(sharpness * (centred + HALF_BIN))
        above = functional.logsigmoid(-sharpness * (centred - HALF_BIN))
        between = below + above + (-torch.expm1(-2 * HALF_BIN * sharpness)).log()
        inner = torch.where(level < -1 + HALF_BIN, below, torch.where(level > 1 - HALF_BIN, above, between))
        by_mixture = inner.sum(2) + self.logits.squeeze(2).log_softmax(1)
        return by_mixture.logsumexp(1).sum((1, 2))


def _shifted(means: Tensor, coefficients: Tensor) -> list[Tensor]:
    """Return the channels in [-1,1], [N,H,W] each, from [N,C,H,W] and [N,C(C-1)/2,H,W]."""
    found: list[Tensor] = []
    used = 0
    for channel in means.unbind(1):
        for before in found:
            channel = channel + coefficients[:, used] * before
            used += 1
        found.append(channel.clamp(-1, 1))
    return found
