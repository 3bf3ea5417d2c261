"""Reference implementation of A-VAE: one slow function over a flat state dict in the released layout.

Written from the description of the layout, for RGB images and an encoder input of 32 pixels, as released.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def channels(size: int, width: int) -> list[tuple[int, int]]:
    """Return the numbers of input and output channels of each block."""
    w = width
    late = [(w + w // 2, w // 2)] + [(w // 2, w // 2)] * (int(math.log2(size)) - 6) + [(w // 2, w // 4)]
    return [(w, w), (w, w), (w, w), *late]


def random_state(size: int, width: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights under the released keys, for images of 64, 128 or 256 pixels."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}

    def equal(name: str, *shape: int) -> None:
        shapes[f"{name}.weight_orig"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    w, inner = width, 3
    for name, outer in (("conv2", w // 2), ("conv3", w), ("conv4", 2 * w)):
        equal(f"encoder.{name}.conv1.conv", outer, inner, 3, 3)
        equal(f"encoder.{name}.conv2.conv", outer, outer, 3, 3)
        inner = outer
    blurs = []
    for i, (inner, outer) in enumerate(channels(size, width)):
        place = f"generator.progression.{i}"
        if i == 0:
            shapes[f"{place}.conv1.input"] = (1, w, 4, 4)
        elif i < 3:
            equal(f"{place}.conv1.1.conv", outer, inner, 3, 3)
            blurs.append((f"{place}.conv1.2", outer))
        else:
            shapes[f"{place}.conv1.0.weight"] = (inner, outer, 3, 3)
            shapes[f"{place}.conv1.0.bias"] = (outer,)
            blurs.append((f"{place}.conv1.1", outer))
        equal(f"{place}.conv2.conv", outer, outer, 3, 3)
        for n in (1, 2):
            shapes[f"{place}.noise{n}.weight_orig"] = (1, outer, 1, 1)
            equal(f"{place}.adain{n}.style.linear", 2 * outer, w)
    equal("generator.to_rgb.conv", 3, w // 4, 1, 1)
    for i in (1, 3, 5, 7):
        equal(f"style.{i}.linear", w, 16 * w if i == 1 else w)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, count in blurs:
        for ending in ("weight", "weight_flip"):
            state[f"{name}.{ending}"] = BLUR.expand(count, 1, 3, 3).clone()
    return state


def purified(state, x: torch.Tensor, temperature: float) -> torch.Tensor:
    """Purify images [N,3,s,s] in [0,1] without clamping; draws one noise map per block, then the code."""

    def leaky(h):
        return torch.where(h > 0, h, 0.2 * h)

    def weight(name):
        w = state[f"{name}.weight_orig"]
        return w * math.sqrt(2 / w[0].numel())

    def conv(name, h, stride=1):
        return functional.conv2d(h, weight(name), state[f"{name}.bias"], stride, weight(name).shape[-1] // 2)

    def linear(name, h):
        return h @ weight(name).T + state[f"{name}.bias"]

    def blurred(name, h):
        padded = functional.pad(h, (1, 1, 1, 1))
        kernel = state[f"{name}.weight"][0, 0]
        rows, columns = h.shape[2:]
        return sum(kernel[i, j] * padded[..., i : i + rows, j : j + columns] for i in range(3) for j in range(3))

    def adain(name, h, style):
        scale, shift = linear(f"{name}.style.linear", style)[:, :, None, None].chunk(2, 1)
        normed = (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        return scale * normed + shift

    def grown(name, h):
        padded = functional.pad(state[f"{name}.weight"] * math.sqrt(2 / (h.shape[1] * 9)), (1, 1, 1, 1))
        kernel = torch.zeros(*padded.shape[:2], 4, 4)
        for down in (0, 1):
            for right in (0, 1):
                kernel += padded[:, :, down : down + 4, right : right + 4] / 4
        return functional.conv_transpose2d(h, kernel, state[f"{name}.bias"], stride=2, padding=1)

    pool = x.shape[-1] // 32
    h = (2 * x - 1).reshape(len(x), 3, 32, pool, 32, pool).mean((3, 5))
    for name in ("conv2", "conv3", "conv4"):
        h = leaky(conv(f"encoder.{name}.conv1.conv", h))
        h = leaky(conv(f"encoder.{name}.conv2.conv", h, 2))
        if name == "conv2":
            skip = h
    blocks = int(math.log2(x.shape[-1])) - 1
    noise = [torch.randn(len(x), 1, 4 * 2**i, 4 * 2**i) for i in range(blocks)]
    mean, logvar = h.chunk(2, 1)
    code = mean + torch.randn(mean.shape) * (0.5 * logvar).exp() * temperature
    style = code.flatten(1)
    style = style / (style.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in (1, 3, 5, 7):
        style = leaky(linear(f"style.{i}.linear", style))
    h = state["generator.progression.0.conv1.input"].repeat(len(x), 1, 1, 1)
    for i in range(blocks):
        place = f"generator.progression.{i}"
        if h.shape[-1] == 16 and i == 3:
            h = torch.cat([h, skip], 1)
        if i in (1, 2):
            h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
            h = blurred(f"{place}.conv1.2", conv(f"{place}.conv1.1.conv", h))
        elif i:
            h = blurred(f"{place}.conv1.1", grown(f"{place}.conv1.0", h))
        for n in (1, 2):
            h = conv(f"{place}.conv2.conv", h) if n == 2 else h
            factor = state[f"{place}.noise{n}.weight_orig"] * math.sqrt(2 / h.shape[1])
            h = adain(f"{place}.adain{n}", leaky(h + factor * noise[i]), style)
    return (conv("generator.to_rgb.conv", h) + 1) / 2
