"""The layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) in plain PyTorch, with the keys of rosinality's files.

Weights are stored at unit variance and scaled at run time (equalised learning rate). Leaky ReLUs have slope 0.2 and
gain sqrt(2). Images are doubled with the filter [1,3,3,1] in both directions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE, GAIN = 0.2, math.sqrt(2)
TINY = 1e-8


def leaky(x: Tensor) -> Tensor:
    """Apply a leaky ReLU that preserves the variance."""
    return GAIN * functional.leaky_relu(x, SLOPE)


class PixelNorm(nn.Module):
    """Normalisation of vectors [N,D] to a mean square of 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised vectors."""
        return x * (x.square().mean(1, keepdim=True) + TINY).rsqrt()


class EqualLinear(nn.Module):
    """Linear layer [N,inner] → [N,outer] with equalised learning rate.

    Weight and bias are multiplied by `rate`, and the weight is divided by sqrt(inner).

    Args:
        inner: length of the input.
        outer: length of the output.
        start: initial value of the bias, before multiplication by `rate`.
        rate: factor on weight and bias.
        activated: whether a leaky ReLU follows.
    """

    def __init__(self, inner: int, outer: int, *, start: float = 0.0, rate: float = 1.0, activated: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner) / rate)
        self.bias = nn.Parameter(torch.full((outer,), start))
        self.scale, self.rate, self.activated = rate / math.sqrt(inner), rate, activated

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors [N,outer]."""
        out = functional.linear(x, self.scale * self.weight, self.rate * self.bias)
        return leaky(out) if self.activated else out


class Blur(nn.Module):
    """Filter of every channel with a stored kernel [4,4].

    The kernel is initialised to [1,3,3,1] in both directions with the sum 4, which compensates the zeros between the
    pixels of a doubled image.

    Args:
        before: rows and columns of zeros before the image.
        after: rows and columns of zeros after the image.
    """

    def __init__(self, before: int, after: int):
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line))
        self.kernel: Tensor
        self.pads = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,C,h,w] to [N,C,h + before + after - 3,…]."""
        filters = self.kernel.flip(0, 1).expand(x.shape[1], 1, 4, 4)
        return functional.conv2d(functional.pad(x, self.pads), filters, groups=x.shape[1])


class Doubling(Blur):
    """Doubling of images [N,C,h,w] → [N,C,2h,2w]: a zero after each pixel, then the filter."""

    def __init__(self) -> None:
        super().__init__(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return images [N,C,2h,2w].

        Zeros between pixels followed by a filter are a transposed convolution; its margin is cut off.
        """
        filters = self.kernel.expand(x.shape[1], 1, 4, 4)
        return functional.conv_transpose2d(x, filters, stride=2, padding=1, groups=x.shape[1])


class ModulatedConv(nn.Module):
    """Convolution whose weight is scaled by a code [N,D] for each image (equations 1 and 3).

    [N,inner,h,w] → [N,outer,h,w], or [N,outer,2h,2w] with `up`. Scaling an input channel is equivalent to scaling its
    weights, and the norm of equation 3 can be applied to the output: this takes one convolution for the batch instead
    of one for each image.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        side: side of the kernel.
        dim: length of a code D.
        demodulate: whether the weights are normalised (equation 3).
        up: whether the image is doubled.
    """

    def __init__(self, inner: int, outer: int, side: int, dim: int, *, demodulate: bool = True, up: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outer, inner, side, side))
        self.modulation = EqualLinear(dim, inner, start=1.0)
        self.scale, self.demodulate, self.up = 1 / math.sqrt(inner * side * side), demodulate, up
        if up:
            self.blur = Blur(1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return the features [N,inner,h,w], convolved and scaled by the codes [N,D]."""
        weight, style = self.scale * self.weight[0], self.modulation(code)
        x = x * style[:, :, None, None]
        if self.up:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = style.square() @ weight.square().sum((2, 3)).T
            x = x * (power + TINY).rsqrt()[:, :, None, None]
        return self.blur(x) if self.up else x


class Noise(nn.Module):
    """Addition of a noise map times one learned weight, initially 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Add the noise.

        Args:
            x: features [N,C,h,w].
            noise: noise map [N,1,h,w] or [1,1,h,w].
        """
        return x + self.weight * noise


class Activation(nn.Module):
    """A bias for each channel, followed by a leaky ReLU."""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated features; the shape [N,width,h,w] is unchanged."""
        return leaky(x + self.bias[:, None, None])


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, activation.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        dim: length of a code D.
        up: whether the image is doubled.
    """

    def __init__(self, inner: int, outer: int, dim: int, *, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(inner, outer, 3, dim, up=up)
        self.noise = Noise()
        self.activate = Activation(outer)

    def forward(self, x: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """Compute the features.

        Args:
            x: features [N,inner,h,w].
            code: codes [N,D].
            noise: noise map of the output's size, [N,1,h,w] or [1,1,h,w].

        Returns:
            Features [N,outer,h,w], twice as large with `up`.
        """
        out: Tensor = self.activate(self.noise(self.conv(x, code), noise))
        return out


class ToColours(nn.Module):
    """Modulated 1×1 convolution from features to colours, added to the doubled image of the previous side.

    Args:
        inner: channels of the features.
        colours: channels of the image.
        dim: length of a code D.
        first: whether this is the first side, without a previous image.
    """

    def __init__(self, inner: int, colours: int, dim: int, *, first: bool = False):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, colours, 1, 1))
        self.conv = ModulatedConv(inner, colours, 1, dim, demodulate=False)
        if not first:
            self.upsample = Doubling()

    def forward(self, x: Tensor, code: Tensor, image: Tensor | None = None) -> Tensor:
        """Compute the image at this side.

        Args:
            x: features [N,inner,h,w].
            code: codes [N,D].
            image: image of the previous side [N,colours,h/2,w/2], None for the first side.

        Returns:
            Image [N,colours,h,w].
        """
        out: Tensor = self.conv(x, code) + self.bias
        return out if image is None else out + self.upsample(image)
