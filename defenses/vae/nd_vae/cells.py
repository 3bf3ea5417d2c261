"""ND-VAE's layers: NVAE's cells with plain convolutions, without the factor 0.1 on the residual branch.

The released state dict stores each layer of a cell twice: under its number in the cell, and under an attribute name.
RESIDUAL_NAMES and GENERATIVE_NAMES map the number to the name.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.mlvgm.nvae.cells import Gate

RESIDUAL_NAMES = {0: "bn1", 2: "conv1", 3: "bn2", 5: "conv2", 6: "squeeze_excitation"}
GENERATIVE_NAMES = {
    0: "bn1",
    1: "expand",
    2: "bn_expanded1",
    4: "dep_sep_conv",
    5: "bn_expanded2",
    7: "expand2",
    8: "bn2",
    9: "squeeze_excitation",
}
EXPANSION = 2
"""Factor on the channels inside a generative cell."""


class Cell(nn.Module):
    """Residual cell, skip(x) + cell(x).

    Args:
        skip: the shortcut.
        cell: the residual branch.
        names: names of the layers of `cell` in the files, by number.
    """

    def __init__(self, skip: nn.Module, cell: nn.Sequential, names: Mapping[int, str]):
        super().__init__()
        self.skip, self.cell, self.names = skip, cell, names

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,C,h,w]."""
        out: Tensor = self.skip(x) + self.cell(x)
        return out


class Halve(nn.Module):
    """NVAE's factorised reduction: SiLU, then a 1×1 convolution for each of the four pixels of a 2×2 square."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        quarter = outer // 4
        self.conv_1 = nn.Conv2d(inner, quarter, 1, stride=2)
        self.conv_2 = nn.Conv2d(inner, quarter, 1, stride=2)
        self.conv_3 = nn.Conv2d(inner, quarter, 1, stride=2)
        self.conv_4 = nn.Conv2d(inner, outer - 3 * quarter, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,inner,h,w] to [N,outer,h/2,w/2]."""
        x = functional.silu(x)
        corners = (
            self.conv_1(x),
            self.conv_2(x[..., 1:, 1:]),
            self.conv_3(x[..., :, 1:]),
            self.conv_4(x[..., 1:, :]),
        )
        return torch.cat(corners, dim=1)


class Bilinear(nn.Module):
    """Bilinear doubling of the side with aligned corners."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,C,h,w] to [N,C,2h,2w]."""
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class Separable(nn.Module):
    """Depthwise 5×5 convolution, followed by a 1×1 one."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved features; the shape [N,channels,h,w] is unchanged."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class Join(nn.Module):
    """1×1 convolution of two features, [N,first,h,w] and [N,second,h,w] → [N,outer,h,w]."""

    def __init__(self, first: int, second: int, outer: int):
        super().__init__()
        self.conv = nn.Conv2d(first + second, outer, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the joined features."""
        out: Tensor = self.conv(torch.cat([first, second], dim=1))
        return out


class AddDecoded(nn.Module):
    """Sum of the encoder's features and a 1×1 convolution of the decoder's."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Return the sum of two features [N,channels,h,w], the second one convolved."""
        out: Tensor = encoded + self.conv(decoded)
        return out


def residual_cell(inner: int, outer: int, *, down: bool = False) -> Cell:
    """Return a cell of twice BN, SiLU, 3×3 convolution, then the gate.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        down: whether the first convolution halves the side.
    """
    layers = nn.Sequential(
        nn.BatchNorm2d(inner),
        nn.SiLU(),
        nn.Conv2d(inner, outer, 3, stride=2 if down else 1, padding=1),
        nn.BatchNorm2d(outer),
        nn.SiLU(),
        nn.Conv2d(outer, outer, 3, padding=1),
        Gate(outer),
    )
    return Cell(Halve(inner, outer) if down else nn.Identity(), layers, RESIDUAL_NAMES)


def generative_cell(inner: int, *, expansion: int = EXPANSION, up: bool = False) -> Cell:
    """Return a cell of 1×1 expansion, separable 5×5 and 1×1 convolution, each between BNs, then the gate.

    Args:
        inner: channels of the input.
        expansion: factor on the channels inside the cell.
        up: whether the cell halves the channels and doubles the side.
    """
    wide, outer = expansion * inner, inner // 2 if up else inner
    layers: list[nn.Module] = [
        nn.BatchNorm2d(inner),
        nn.Conv2d(inner, wide, 1),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        Separable(wide),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        nn.Conv2d(wide, outer, 1),
        nn.BatchNorm2d(outer),
        Gate(outer),
    ]
    if not up:
        return Cell(nn.Identity(), nn.Sequential(*layers), GENERATIVE_NAMES)
    skip = nn.Sequential(Bilinear(), nn.Conv2d(inner, outer, 1))
    grown = nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), *layers)
    return Cell(skip, grown, {number + 1: name for number, name in GENERATIVE_NAMES.items()})
