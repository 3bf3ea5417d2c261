"""e4e: an encoder into the w space of StyleGAN2 (Tov et al. 2021, arXiv:2102.02766), the paper's model for faces.

StyleGAN2 for FFHQ at 1024 pixels (Karras et al. 2020, arXiv:1912.04958) has 18 codes, one for each style; the codes of
an image are the coarsest one plus a difference each. Serez et al. 2025 (arXiv:2412.03453) use it on images of 256
pixels, for input and output. Parameters are named as in the official file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.mlvgm.stylegan.autoencoder import OfficialAutoencoder
from purebench.defenses.mlvgm.stylegan.generator import EqualLinear
from purebench.defenses.mlvgm.stylegan.irse import DEPTHS, REDUCTION, WIDTHS, Pyramid

MIDDLE, FINE = 3, 7
"""Index of the first code that is computed from the medium features, and from the fine features."""


class StyleBlock(nn.Module):
    """Map from features to one code by halving them to a single pixel; [N,D,s,s] → [N,D], s = 2^halvings."""

    def __init__(self, dim: int, halvings: int):
        super().__init__()
        self.convs = nn.Sequential()
        for _ in range(halvings):
            self.convs.extend([nn.Conv2d(dim, dim, 3, stride=2, padding=1), nn.LeakyReLU()])
        self.linear = EqualLinear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return one code for each image."""
        code: Tensor = self.linear(self.convs(x).flatten(1))
        return code


class Encoder(Pyramid):
    """Encoder of images [N,3,side,side] in [-1,1] to codes [N,codes,D], coarse to fine; D is the last of `widths`.

    w_0 is computed from the coarse features, and w_i = w_0 + styles[i](features of its level). All differences are
    active, as after the last stage of e4e's progressive training.

    Args:
        side: pixels a side of the images.
        codes: number of codes.
        widths: channels of the four stages.
        depths: units of the four stages.
        reduction: reduction of squeeze-and-excitation.
    """

    def __init__(self, side: int, codes: int, *, widths: Sequence[int], depths: Sequence[int], reduction: int):
        super().__init__(widths=widths, depths=depths, reduction=reduction)
        coarse = int(math.log2(side // 16))
        self.styles = nn.ModuleList(
            StyleBlock(widths[-1], coarse + (0 if i < MIDDLE else 1 if i < FINE else 2)) for i in range(codes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return codes [N,codes,D]."""
        coarse, medium, fine = self.features(x)
        levels = (coarse if i < MIDDLE else medium if i < FINE else fine for i in range(len(self.styles)))
        first, *rest = (style(level) for style, level in zip(self.styles, levels, strict=True))
        return torch.stack([first, *(first + difference for difference in rest)], dim=1)


class E4E(OfficialAutoencoder):
    """The autoencoder e4e; the defaults are the official values.

    Args:
        size: pixels a side of the generator's images.
        image: pixels a side of the encoder's images, a power of two of at least 32; the generator's images are averaged
            down to it.
        widths: channels of the encoder's stages; the last is the length of a code.
        depths: units of the encoder's stages.
        reduction: reduction of squeeze-and-excitation.
        mappings: layers of the generator from z to w.
        channels: features of the generator at each side.
    """

    name = "e4e"

    def __init__(
        self,
        *,
        size: int = 1024,
        image: int = 256,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        reduction: int = REDUCTION,
        mappings: int = 8,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
    ):
        super().__init__(size=size, image=image, dim=widths[-1], mappings=mappings, channels=channels)
        sizes: dict[str, Any] = {"widths": list(widths), "depths": list(depths), "reduction": reduction}
        self.architecture |= sizes
        self.encoder = Encoder(image, self.latents, **sizes)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes [N,L,D] of images in [0,1]."""
        codes: Tensor = self.encoder((x - 0.5) / 0.5) + self.latent_avg
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return images [N,3,image,image] of codes [N,L,D], with the noise maps of the file.

        Values are about in [0,1], but not clamped.
        """
        return functional.adaptive_avg_pool2d(self.decoder(codes), self.image) * 0.5 + 0.5
