"""e4e: an encoder into the w space of StyleGAN2 (Tov et al. 2021, arXiv:2102.02766), the paper's model for faces.

StyleGAN2 of FFHQ at 1024 pixels (Karras et al. 2020, arXiv:1912.04958) has 18 codes, one a style: an image's are the
coarsest plus a difference each. Serez et al. 2025 (arXiv:2412.03453) feed and judge it at 256 pixels. Parameters are
named as in the official file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.stylegan.generator import EqualLinear, Generator
from purebench.defenses.mlvgm.stylegan.irse import DEPTHS, REDUCTION, WIDTHS, Pyramid
from purebench.defenses.mlvgm.stylegan.styles import channels_by_side, check_images, mixed

MIDDLE, FINE = 3, 7
"""The first codes that are read from the medium and from the fine features."""


class StyleBlock(nn.Module):
    """A feature map to one code by halving it to a single pixel; [N,D,s,s] → [N,D], s = 2^halvings."""

    def __init__(self, dim: int, halvings: int):
        super().__init__()
        self.convs = nn.Sequential()
        for _ in range(halvings):
            self.convs.extend([nn.Conv2d(dim, dim, 3, stride=2, padding=1), nn.LeakyReLU()])
        self.linear = EqualLinear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """One code an image."""
        code: Tensor = self.linear(self.convs(x).flatten(1))
        return code


class Encoder(Pyramid):
    """Images [N,3,side,side] in [-1,1] → codes [N,codes,D], D the last of `widths`; coarse to fine.

    w_0 comes from the coarse features, w_i = w_0 + styles[i](features of its level): all differences are on, as after
    the last stage of e4e's progressive training.
    """

    def __init__(self, side: int, codes: int, *, widths: Sequence[int], depths: Sequence[int], reduction: int):
        super().__init__(widths=widths, depths=depths, reduction=reduction)
        coarse = int(math.log2(side // 16))
        self.styles = nn.ModuleList(
            StyleBlock(widths[-1], coarse + (0 if i < MIDDLE else 1 if i < FINE else 2)) for i in range(codes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        coarse, medium, fine = self.features(x)
        levels = (coarse if i < MIDDLE else medium if i < FINE else fine for i in range(len(self.styles)))
        first, *rest = (style(level) for style, level in zip(self.styles, levels, strict=True))
        return torch.stack([first, *(first + difference for difference in rest)], dim=1)


class E4E(MLVGM):
    """Images [N,3,image,image] with 2·log2(size) - 2 codes; the official numbers are the defaults.

    size: pixels a side that the generator draws. image: pixels a side that the encoder reads, a power of two of at
    least 32, and that the drawn image is averaged to. widths, depths, reduction: the encoder's body, whose last width
    is the codes'. mappings, channels: the generator's. `latent_avg` [codes,D] is added to the encoder's codes, and
    zero where its training did not start from the average.
    """

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
        super().__init__()
        table = channels_by_side(channels)
        self.architecture: dict[str, Any] = {
            "size": size,
            "image": image,
            "widths": list(widths),
            "depths": list(depths),
            "reduction": reduction,
            "mappings": mappings,
            "channels": table,
        }
        self.image, dim = image, widths[-1]
        self.decoder = Generator(size=size, style_dim=dim, mappings=mappings, channels=table)
        self.latents = self.decoder.codes
        self.encoder = Encoder(image, self.latents, widths=widths, depths=depths, reduction=reduction)
        self.register_buffer("latent_avg", torch.zeros(self.latents, dim))
        self.latent_avg: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """Codes [N,L,D] of images in [0,1]."""
        codes: Tensor = self.encoder((x - 0.5) / 0.5) + self.latent_avg
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Images [N,3,image,image] of codes [N,L,D], about [0,1] but not clamped, with the file's own noise maps."""
        return functional.adaptive_avg_pool2d(self.decoder(codes), self.image) * 0.5 + 0.5

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """See MLVGM; all codes are known before the first is mixed. Raises PurebenchError for images of another size.

        The answer may leave [0,1] a little: the purifier clamps it.
        """
        check_images(x, "e4e", self.image)
        return self.decode(mixed(self.encode(x), self.decoder, mix))
