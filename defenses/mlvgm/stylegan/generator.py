"""The generator of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) in plain PyTorch, with skip connections.

Parameters are named as in rosinality's implementation, whose files e4e and Style-Transformer publish.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.stylegan.modulated import EqualLinear, PixelNorm, StyledConv, ToColours

__all__ = ["CHANNELS", "EqualLinear", "Generator"]

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
"""Number of features at each side in pixels, as in all official files (channel multiplier 2)."""
MAPPING_RATE = 0.01


class Constant(nn.Module):
    """The learned features that every image starts from."""

    def __init__(self, width: int):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, width, 4, 4))

    def forward(self, count: int) -> Tensor:
        """Return features [count,width,4,4]."""
        return self.input.expand(count, -1, -1, -1)


class Generator(nn.Module):
    """Generator of images [N,colours,size,size], about in [-1,1], from codes [N,L,D], coarse to fine.

    The number of codes is L = `codes` = 2·log2(size) - 2. Code 0 controls the 4×4 features; of the later ones, 2k-1, 2k
    and 2k+1 control the features and the colours at the side 4·2^k, so the last code of one side is the first of the
    next.

    Args:
        size: pixels a side, a power of two of at least 8.
        style_dim: length of a code D.
        mappings: layers from z to w.
        channels: features at each side; the official ones by default.
        colours: channels of the images.

    Raises:
        PurebenchError: If the size is not such a power of two, or a side has no channels.
    """

    def __init__(
        self,
        *,
        size: int,
        style_dim: int = 512,
        mappings: int = 8,
        channels: Mapping[int, int] | None = None,
        colours: int = 3,
    ):
        super().__init__()
        if size < 8 or size & (size - 1):
            raise PurebenchError(f"stylegan: expected a size that is a power of two of at least 8, but got {size}.")
        table = CHANNELS if channels is None else channels
        sides = [4 << step for step in range(size.bit_length() - 3 + 1) if 4 << step <= size]
        if missing := [side for side in sides if side not in table]:
            raise PurebenchError(
                f"stylegan: expected channels at the sides {sides}, but got none at {missing}; name them all."
            )
        widths = [table[side] for side in sides]
        self.codes, self.dim = 2 * len(sides), style_dim
        mapping = (EqualLinear(style_dim, style_dim, rate=MAPPING_RATE, activated=True) for _ in range(mappings))
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = Constant(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], style_dim)
        self.to_rgb1 = ToColours(widths[0], colours, style_dim, first=True)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for inner, outer in itertools.pairwise(widths):
            self.convs.append(StyledConv(inner, outer, style_dim, up=True))
            self.convs.append(StyledConv(outer, outer, style_dim))
            self.to_rgbs.append(ToColours(outer, colours, style_dim))
        self.noises = nn.Module()
        for number in range(self.codes - 1):
            side = sides[(number + 1) // 2]
            self.noises.register_buffer(f"noise_{number}", torch.randn(1, 1, side, side))

    def mapping(self, z: Tensor) -> Tensor:
        """Map z [N,D] to w [N,D]; only the direction of z matters."""
        w: Tensor = self.style(z)
        return w

    def stored_noise(self) -> list[Tensor]:
        """Return the noise maps that are part of the weights, [1,1,h,w] for each styled convolution."""
        return list(self.noises.buffers())

    def fresh_noise(self, count: int) -> list[Tensor]:
        """Return new noise maps, [count,1,h,w] for each styled convolution."""
        return [torch.randn_like(stored.expand(count, -1, -1, -1)) for stored in self.stored_noise()]

    def forward(self, codes: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Generate images.

        Args:
            codes: codes [N,L,D].
            noise: noise maps as `fresh_noise` returns them; None for the stored ones, which are fixed.

        Returns:
            Images [N,colours,size,size], not clamped.

        Raises:
            PurebenchError: If the codes have another number or length.
        """
        if codes.ndim != 3 or tuple(codes.shape[1:]) != (self.codes, self.dim):
            raise PurebenchError(f"stylegan: expected codes [N,{self.codes},{self.dim}], but got {list(codes.shape)}.")
        maps = self.stored_noise() if noise is None else noise
        x = self.conv1(self.input(len(codes)), codes[:, 0], maps[0])
        image: Tensor = self.to_rgb1(x, codes[:, 1])
        for step, colour in enumerate(self.to_rgbs):
            at = 2 * step + 1
            x = self.convs[at - 1](x, codes[:, at], maps[at])
            x = self.convs[at](x, codes[:, at + 1], maps[at + 1])
            image = colour(x, codes[:, at + 2], image)
        return image
