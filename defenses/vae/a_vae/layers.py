"""A-VAE's layers, those of the first StyleGAN (Karras et al. 2019, arXiv:1812.04948), with the keys of released files.

Weights are stored at unit variance and scaled by sqrt(2/fan-in) at run time (equalised learning rate): `weight_orig`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
LINE = (0.25, 0.5, 0.25)
"""Filter of the blur after every doubling, in both directions."""


def leaky(x: Tensor) -> Tensor:
    """Apply the activation of every layer."""
    return functional.leaky_relu(x, SLOPE)


def blur_kernel(channels: int) -> Tensor:
    """Return the kernel of the blur, [channels,1,3,3], with sum 1 each.

    The released files contain it as `weight` and `weight_flip`.
    """
    line = torch.tensor(LINE)
    return torch.outer(line, line).expand(channels, 1, 3, 3)


class Blur(nn.Module):
    """Blur of every channel by [1,2,1]/4 in both directions, with zeros beyond the border; it has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the blurred features; the shape [N,C,h,w] is unchanged."""
        return functional.conv2d(x, blur_kernel(x.shape[1]).to(x), padding=1, groups=x.shape[1])


class Equalised(nn.Module):
    """Weight of a given shape, [outer,inner,…], and a bias."""

    def __init__(self, *shape: int):
        super().__init__()
        self.weight_orig = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.gain = math.sqrt(2 / math.prod(shape[1:]))

    @property
    def weight(self) -> Tensor:
        """The scaled weight, as it is used."""
        return self.gain * self.weight_orig


class EqualConv(nn.Module):
    """Convolution with an odd kernel, [N,inner,h,w] → [N,outer,h/stride,w/stride].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        side: side of the kernel.
        stride: stride of the convolution.
    """

    def __init__(self, inner: int, outer: int, side: int = 3, *, stride: int = 1):
        super().__init__()
        self.conv = Equalised(outer, inner, side, side)
        self.stride, self.padding = stride, side // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved features."""
        return functional.conv2d(x, self.conv.weight, self.conv.bias, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """Linear layer [N,inner] → [N,outer]."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.linear = Equalised(outer, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors [N,outer]."""
        return functional.linear(x, self.linear.weight, self.linear.bias)


class FusedUp(nn.Module):
    """Transposed convolution with the average of four shifted kernels; [N,inner,h,w] → [N,outer,2h,2w]."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inner, outer, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outer))
        self.gain = math.sqrt(2 / (9 * inner))

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,outer,2h,2w]."""
        padded = functional.pad(self.gain * self.weight, (1, 1, 1, 1))
        kernel = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
        return functional.conv_transpose2d(x, kernel / 4, self.bias, stride=2, padding=1)


class Noise(nn.Module):
    """Addition of a noise map [N,1,h,w], times a weight for each channel that is initially 0."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight_orig = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gain = math.sqrt(2 / channels)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return the features with noise; the shape [N,channels,h,w] is unchanged."""
        return x + self.gain * self.weight_orig * noise


class AdaIN(nn.Module):
    """Normalisation of each channel of each image to mean 0 and std 1, then scale and shift by a style [N,style]."""

    def __init__(self, channels: int, style: int):
        super().__init__()
        self.style = EqualLinear(style, 2 * channels)
        with torch.no_grad():
            self.style.linear.bias[:channels] = 1

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return the styled features; the shape [N,channels,h,w] is unchanged."""
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = scale * functional.instance_norm(x) + shift
        return out


class Constant(nn.Module):
    """Learned features that the decoder starts from, [1,channels,4,4]."""

    def __init__(self, channels: int):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,channels,4,4] for any input [N,…]."""
        return self.input.expand(len(x), -1, -1, -1)


class EncoderBlock(nn.Module):
    """Two convolutions, the second of stride 2.

    The release has instance norms between them, whose results are discarded.
    """

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv1 = EqualConv(inner, outer)
        self.conv2 = EqualConv(outer, outer, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,inner,h,w] to [N,outer,h/2,w/2]."""
        return leaky(self.conv2(leaky(self.conv1(x))))


class StyledBlock(nn.Module):
    """Decoder block: twice convolution, noise (the same map), activation, AdaIN.

    The first block creates the features, [N,outer,4,4]; the others double them, [N,inner,h,w] → [N,outer,2h,2w].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        style: length of the style.
        first: whether this is the first block.
        fused: whether to double by one transposed convolution.
    """

    def __init__(self, inner: int, outer: int, style: int, *, first: bool = False, fused: bool = False):
        super().__init__()
        if first:
            self.conv1: nn.Module = Constant(outer)
        elif fused:
            self.conv1 = nn.Sequential(FusedUp(inner, outer), Blur())
        else:
            self.conv1 = nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), EqualConv(inner, outer), Blur())
        self.noise1, self.noise2 = Noise(outer), Noise(outer)
        self.adain1, self.adain2 = AdaIN(outer, style), AdaIN(outer, style)
        self.conv2 = EqualConv(outer, outer)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Compute the features of the block.

        Args:
            x: features [N,inner,h,w]; any tensor [N,…] for the first block.
            style: styles [N,style].
            noise: noise map [N,1,2h,2w].
        """
        x = self.adain1(leaky(self.noise1(self.conv1(x), noise)), style)
        out: Tensor = self.adain2(leaky(self.noise2(self.conv2(x), noise)), style)
        return out
