"""NVAE's layers (Vahdat & Kautz 2020, arXiv:2007.03898, figures 3 and 4), named as in NVAE-from-scratch's files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

RESIDUAL = 0.1
"""Factor on every residual branch."""
MOMENTUM = 0.05
"""Momentum of the batch statistics in training."""


def normed(inner: int, outer: int, kernel: int, *, stride: int = 1) -> nn.Module:
    """Return a convolution with weight norm, one gain for each output channel; stride 1 keeps the image's size.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        kernel: side of the kernel.
        stride: stride of the convolution.
    """
    conv: nn.Module = weight_norm(nn.Conv2d(inner, outer, kernel, stride=stride, padding=kernel // 2))
    return conv


def batch_norm(channels: int) -> nn.Module:
    """Return a batch norm with the official constants."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=MOMENTUM)


class Gate(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507): channels are scaled by a function of their means."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 4)
        self.linear_1 = nn.Linear(channels, hidden)
        self.linear_2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled features; the shape [N,C,h,w] is unchanged."""
        scale = torch.sigmoid(self.linear_2(functional.relu(self.linear_1(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class SkipDown(nn.Module):
    """Shortcut of a cell that halves the image: SiLU, 1×1 convolution of stride 2."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv = normed(inner, outer, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,inner,h,w] to [N,outer,h/2,w/2]."""
        out: Tensor = self.conv(functional.silu(x))
        return out


class SkipUp(nn.Module):
    """Shortcut of a cell that doubles the image: bilinear interpolation with aligned corners, 1×1 convolution."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv = normed(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,inner,h,w] to [N,outer,2h,2w]."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True))
        return out


class Cell(nn.Module):
    """Residual cell, skip(x) + 0.1·residual(x)."""

    def __init__(self, skip_connection: nn.Module, residual: nn.Module):
        super().__init__()
        self.skip_connection, self.residual = skip_connection, residual

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,C,h,w]."""
        out: Tensor = self.skip_connection(x) + RESIDUAL * self.residual(x)
        return out


def encoder_cell(inner: int, outer: int, *, down: bool = False) -> Cell:
    """Return an encoder cell (figure 3b): twice BN, SiLU, 3×3 convolution, then the gate.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        down: whether the first convolution halves the image.
    """
    residual = nn.Sequential(
        batch_norm(inner),
        nn.SiLU(),
        normed(inner, outer, 3, stride=2 if down else 1),
        batch_norm(outer),
        nn.SiLU(),
        normed(outer, outer, 3),
        Gate(outer),
    )
    return Cell(SkipDown(inner, outer) if down else nn.Identity(), residual)


def decoder_cell(inner: int, outer: int, *, up: bool = False, expansion: int = 6) -> Cell:
    """Return a decoder cell (figure 3a): 1×1 expansion, depthwise 5×5 and 1×1 convolution, then the gate.

    Batch norm precedes the expansion, and follows each convolution.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        up: whether the cell doubles the image.
        expansion: factor on the channels inside the cell.
    """
    hidden = expansion * inner
    residual = [
        batch_norm(inner),
        nn.Conv2d(inner, hidden, 1, bias=False),
        batch_norm(hidden),
        nn.SiLU(),
        nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden, bias=False),
        batch_norm(hidden),
        nn.SiLU(),
        nn.Conv2d(hidden, outer, 1, bias=False),
        batch_norm(outer),
        Gate(outer),
    ]
    grow = [nn.UpsamplingNearest2d(scale_factor=2)] if up else []
    return Cell(SkipUp(inner, outer) if up else nn.Identity(), nn.Sequential(*grow, *residual))


class AddDecoded(nn.Module):
    """Sum of the encoder's features and a 1×1 convolution of the decoder's."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = normed(channels, channels, 1)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Return the sum of two features [N,C,h,w], the second one convolved."""
        out: Tensor = encoded + self.conv(decoded)
        return out


class TakeLatent(nn.Module):
    """1×1 convolution of the decoder's features and a latent."""

    def __init__(self, channels: int, z: int):
        super().__init__()
        self.conv = normed(channels + z, channels, 1)

    def forward(self, decoded: Tensor, latent: Tensor) -> Tensor:
        """Map [N,C,h,w] and [N,z,h,w] to [N,C,h,w]."""
        out: Tensor = self.conv(torch.cat([decoded, latent], 1))
        return out
