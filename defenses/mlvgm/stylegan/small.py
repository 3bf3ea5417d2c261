"""A small StyleGAN2 with an encoder into its w space, for images of 32 pixels.

The generator is the official one (arXiv:1912.04958) with fewer channels. The encoder computes each code from features
of its own resolution, like pSp (Richardson et al. 2021, arXiv:2008.00951), as a difference from the coarsest code,
like e4e (Tov et al. 2021, arXiv:2102.02766).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from purebench.defenses.mlvgm.hvae import Cell
from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.stylegan.autoencoder import channels_by_side, mixed
from purebench.defenses.mlvgm.stylegan.generator import Generator

COARSE, MEDIUM = 3, 2
"""Number of codes from the coarse and from the medium features; all others come from the fine ones."""
SQUEEZED = 32
LOUDER = 5.0
"""Factor on the initial last weights of the encoder; its codes would otherwise start far smaller than samples."""


class Encoder(nn.Module):
    """Encoder of images [N,colours,size,size] in [-1,1] to codes [N,codes,dim], coarse to fine.

    The codes are w_i = w_0 + difference_i, i > 0.

    Args:
        size: pixels a side of the images.
        codes: number of codes.
        dim: length of a code.
        widths: channels of the features with sides size/8, size/4 and size/2.
        colours: channels of the images.
    """

    def __init__(self, size: int, codes: int, dim: int, widths: Sequence[int], colours: int):
        super().__init__()
        coarse, medium, fine = widths
        self.dim = dim
        self.stem = nn.Conv2d(colours, fine, 4, stride=2, padding=1)
        self.cells = nn.ModuleList(Cell(width, width) for width in (fine, medium, coarse))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in ((fine, medium), (medium, coarse)))
        side = size // 8
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(),
                nn.Conv2d(width, SQUEEZED, stride, stride),
                nn.SiLU(),
                nn.Flatten(),
                nn.Linear(SQUEEZED * side * side, count * dim),
            )
            for width, stride, count in ((fine, 4, codes - COARSE - MEDIUM), (medium, 2, MEDIUM), (coarse, 1, COARSE))
        )
        with torch.no_grad():
            for name, weight in self.heads.named_parameters():
                if name.endswith("4.weight"):
                    weight.mul_(LOUDER)

    def forward(self, x: Tensor) -> Tensor:
        """Return codes [N,codes,dim]."""
        x, found = self.stem(x), []
        for level, (cell, head) in enumerate(zip(self.cells, self.heads, strict=True)):
            x = cell(self.down[level - 1](x) if level else x)
            found.append(head(x).unflatten(1, (-1, self.dim)))
        first, rest = torch.cat(found[::-1], dim=1).tensor_split([1], dim=1)
        return torch.cat([first, first + rest], dim=1)


class SmallStyleGAN(MLVGM):
    """Autoencoder of images [N,colours,size,size] with 2·log2(size) - 2 codes of length `dim`.

    The noise maps of the generator are fixed.

    Args:
        size: pixels a side of the images.
        dim: length of a code.
        mappings: layers from z to w.
        channels: features of the generator at each side.
        widths: channels of the encoder's features, coarse to fine.
        colours: channels of the images.

    Raises:
        PurebenchError: If the size is not a power of two of at least 8, or a side has no channels.
    """

    def __init__(
        self,
        *,
        size: int = 32,
        dim: int = 64,
        mappings: int = 4,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
        widths: Sequence[int] = (96, 64, 32),
        colours: int = 1,
    ):
        super().__init__()
        self.decoder = Generator(
            size=size, style_dim=dim, mappings=mappings, channels=channels_by_side(channels), colours=colours
        )
        self.latents = self.decoder.codes
        self.encoder = Encoder(size, self.latents, dim, widths, colours)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes [N,L,D] of images in [0,1]."""
        codes: Tensor = self.encoder(2 * x - 1)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return images of codes [N,L,D], about in [0,1] but not clamped."""
        image: Tensor = self.decoder(codes)
        return image / 2 + 0.5

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images (see MLVGM); all codes are known before the first is mixed.

        As with E4E, the result may exceed [0,1] slightly.
        """
        return self.decode(mixed(self.encode(x), self.decoder, mix))
