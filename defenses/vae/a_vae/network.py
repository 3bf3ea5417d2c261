"""A-VAE (Zhou et al., ECCV 2020) in the form that Serez et al. 2025 (arXiv:2412.03453) released.

The encoder receives the downscaled image. Its code determines the style of a StyleGAN decoder, and its first features
are passed to the decoder at the side where they fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.stylegan.modulated import PixelNorm
from purebench.defenses.vae.a_vae.layers import SLOPE, EncoderBlock, EqualConv, EqualLinear, StyledBlock

STYLES = 4
"""Number of layers from the code to the style."""


@dataclass(frozen=True)
class Encoded:
    """Output of the encoder for inputs of side s.

    Attributes:
        skip: features [N,W/2,s/2,s/2].
        mean: mean of the code [N,W,s/8,s/8].
        logvar: log-variance of the code [N,W,s/8,s/8].
    """

    skip: Tensor
    mean: Tensor
    logvar: Tensor


@dataclass(frozen=True)
class Chance:
    """Random numbers of one pass, all standard normal.

    Attributes:
        code: noise of the code [N,W,s/8,s/8].
        maps: a noise map [N,1,h,w] for each block.
    """

    code: Tensor
    maps: tuple[Tensor, ...]

    def where(self, chosen: Tensor, other: Chance) -> Chance:
        """Combine two draws image by image.

        Args:
            chosen: bool [N], True for images that use this draw.
            other: the draw of the other images.
        """
        pairs = zip((self.code, *self.maps), (other.code, *other.maps), strict=True)
        code, *maps = (torch.where(chosen[:, None, None, None], mine, its) for mine, its in pairs)
        return Chance(code, tuple(maps))


class Encoder(nn.Module):
    """Encoder of images [N,colours,s,s] in [-1,1].

    Args:
        colours: channels of the images.
        width: channels of the code.
    """

    def __init__(self, colours: int, width: int):
        super().__init__()
        self.conv2 = EncoderBlock(colours, width // 2)
        self.conv3 = EncoderBlock(width // 2, width)
        self.conv4 = EncoderBlock(width, 2 * width)

    def forward(self, x: Tensor) -> Encoded:
        """Return the encoder's features, mean and log-variance."""
        skip = self.conv2(x)
        mean, logvar = self.conv4(self.conv3(skip)).chunk(2, dim=1)
        return Encoded(skip, mean, logvar)


class Decoder(nn.Module):
    """Decoder with blocks from 4×4 to size×size.

    Args:
        size: pixels a side of the images.
        joins: side at which the encoder's features are concatenated to the decoder's.
        colours: channels of the images.
        width: channels of the widest blocks and of the style.
    """

    def __init__(self, size: int, joins: int, colours: int, width: int):
        super().__init__()
        sides = [4 * 2**i for i in range((size // 4).bit_length())]
        blocks = [StyledBlock(width, width, width, first=True)]
        inner = width
        for side in sides[1:]:
            late = side > joins
            outer = width // 4 if side == size else width // 2 if late else width
            inner += width // 2 if side == 2 * joins else 0
            blocks.append(StyledBlock(inner, outer, width, fused=late))
            inner = outer
        self.progression = nn.ModuleList(blocks)
        self.to_rgb = EqualConv(width // 4, colours, 1)
        self.sides, self.joins = sides, joins

    def forward(self, skip: Tensor, style: Tensor, maps: tuple[Tensor, ...]) -> Tensor:
        """Decode images.

        Args:
            skip: features of the encoder [N,W/2,joins,joins].
            style: styles [N,W].
            maps: a noise map [N,1,h,w] for each block.

        Returns:
            Images [N,colours,size,size], about in [-1,1].
        """
        x = style
        for block, noise in zip(self.progression, maps, strict=True):
            if x.ndim == 4 and x.shape[-1] == self.joins:
                x = torch.cat([x, skip], dim=1)
            x = block(x, style, noise)
        out: Tensor = self.to_rgb(x)
        return out


class AVAE(nn.Module):
    """Autoencoder of images [N,colours,size,size] in [0,1], whose encoder receives copies of side `inside`.

    Args:
        size: pixels a side of the images.
        inside: pixels a side of the encoder's input, 32 in the official files.
        colours: channels of the images.
        width: channels of the code and of the widest blocks, 512 in the official files.

    Raises:
        PurebenchError: If no such network can be built for these sides or this width.
    """

    def __init__(self, *, size: int, inside: int = 32, colours: int = 3, width: int = 512):
        super().__init__()
        powers = all(side >= 8 and side & (side - 1) == 0 for side in (size, inside))
        if not powers or inside > size or width < 4 or width % 4:
            raise PurebenchError(
                "a-vae: expected powers of two 8 <= inside <= size and a width that 4 divides, "
                f"but got inside {inside}, size {size}, width {width}."
            )
        self.encoder = Encoder(colours, width)
        self.generator = Decoder(size, inside // 2, colours, width)
        inner = width * (inside // 8) ** 2
        layers: list[nn.Module] = [PixelNorm()]
        for i in range(STYLES):
            layers += [EqualLinear(width if i else inner, width), nn.LeakyReLU(SLOPE)]
        self.style = nn.Sequential(*layers)
        self.architecture: dict[str, Any] = {"size": size, "inside": inside, "colours": colours, "width": width}

    def encode(self, x: Tensor) -> Encoded:
        """Encode images in [0,1]."""
        found: Encoded = self.encoder(functional.avg_pool2d(2 * x - 1, x.shape[-1] // self.architecture["inside"]))
        return found

    def chance(self, encoded: Encoded) -> Chance:
        """Draw fresh random numbers for as many images."""
        count, like = len(encoded.mean), encoded.mean
        maps = tuple(
            torch.randn(count, 1, side, side, dtype=like.dtype, device=like.device) for side in self.generator.sides
        )
        return Chance(torch.randn_like(like), maps)

    def decode(self, encoded: Encoded, chance: Chance, temperature: float = 1.0) -> Tensor:
        """Decode images.

        Args:
            encoded: output of the encoder.
            chance: random numbers of the pass.
            temperature: factor on the code's standard deviation.

        Returns:
            Images [N,colours,size,size], about in [0,1].
        """
        code = encoded.mean + temperature * (encoded.logvar / 2).exp() * chance.code
        out: Tensor = self.generator(encoded.skip, self.style(code.flatten(1)), chance.maps)
        return (out + 1) / 2
