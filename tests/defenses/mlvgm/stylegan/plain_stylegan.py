"""Reference implementation of the official StyleGAN2 and its encoders from the papers' formulas, without purebench.

Everything is computed from the state dict of a file, one image and one operation at a time.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import conv2d, pad


def under(state, prefix):
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def normalised(p, x):
    mean, var, weight, bias = (p[k].view(-1, 1, 1) for k in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def prelu(p, x):
    return torch.where(x > 0, x, p["weight"].view(-1, 1, 1) * x)


def unit(p, x, stride):
    shortcut = x[:, :, ::stride, ::stride]
    if "shortcut_layer.0.weight" in p:
        shortcut = normalised(under(p, "shortcut_layer.1."), conv2d(x, p["shortcut_layer.0.weight"], stride=stride))
    y = normalised(under(p, "res_layer.0."), x)
    y = prelu(under(p, "res_layer.2."), conv2d(y, p["res_layer.1.weight"], padding=1))
    y = normalised(under(p, "res_layer.4."), conv2d(y, p["res_layer.3.weight"], stride=stride, padding=1))
    squeezed = p["res_layer.5.fc1.weight"][:, :, 0, 0] @ y.mean((0, 2, 3))
    scale = 1 / (1 + torch.exp(-p["res_layer.5.fc2.weight"][:, :, 0, 0] @ squeezed.clamp(min=0)))
    return shortcut + y * scale.view(-1, 1, 1)


def stretch(x, height, width, aligned):
    """Resize bilinearly by two matrix products."""

    def matrix(inner, outer):
        found = torch.zeros(outer, inner, dtype=x.dtype)
        for to in range(outer):
            at = to * (inner - 1) / (outer - 1) if aligned else (to + 0.5) * inner / outer - 0.5
            at = min(max(at, 0), inner - 1)
            low = min(math.floor(at), inner - 1)
            found[to, low] += 1 - (at - low)
            found[to, min(low + 1, inner - 1)] += at - low
        return found

    return matrix(x.shape[2], height) @ x @ matrix(x.shape[3], width).T


def pyramid(p, x, depths):
    """Return coarse, medium and fine features of one image [1,3,H,W] in [-1,1]."""
    x = prelu(
        under(p, "input_layer.2."),
        normalised(under(p, "input_layer.1."), conv2d(x, p["input_layer.0.weight"], padding=1)),
    )
    taps, number = [], 0
    for depth in depths:
        for position in range(depth):
            x = unit(under(p, f"body.{number}."), x, stride=1 if position else 2)
            number += 1
        taps.append(x)
    _, fine, medium, coarse = taps

    def lateral(name, below, above):
        side = conv2d(below, p[f"{name}.weight"], p[f"{name}.bias"])
        return stretch(above, side.shape[2], side.shape[3], aligned=True) + side

    medium = lateral("latlayer1", medium, coarse)
    return coarse, medium, lateral("latlayer2", fine, medium)


def e4e_codes(state, x, depths):
    """Codes [1,L,D] of one image [1,3,S,S] in [0,1], without the average."""
    p = under(state, "encoder.")
    coarse, medium, fine = pyramid(p, 2 * x - 1, depths)
    found = []
    for code in range(sum(name.endswith("linear.weight") for name in p)):
        y = coarse if code < 3 else medium if code < 7 else fine
        style, conv = under(p, f"styles.{code}."), 0
        while f"convs.{conv}.weight" in style:
            y = conv2d(y, style[f"convs.{conv}.weight"], style[f"convs.{conv}.bias"], stride=2, padding=1)
            y, conv = torch.where(y > 0, y, 0.01 * y), conv + 2
        assert y.shape[2:] == (1, 1)
        found.append(style["linear.weight"] @ y.flatten() / math.sqrt(y.shape[1]) + style["linear.bias"])
    return torch.stack([found[0], *(found[0] + other for other in found[1:])])[None]


def layer_normalised(p, name, x):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def attended(p, name, query, memory, heads):
    """Compute attention head by head and query by query; query [L,D] and memory [M,D] give [L,D]."""
    dim = query.shape[1]
    size = dim // heads
    weight, bias = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
    q, k, v = (
        source @ weight[n * dim : (n + 1) * dim].T + bias[n * dim : (n + 1) * dim]
        for n, source in enumerate((query, memory, memory))
    )
    rows = []
    for row in q:
        parts = []
        for head in range(heads):
            span = slice(head * size, (head + 1) * size)
            score = torch.exp(k[:, span] @ row[span] / math.sqrt(size))
            parts.append((score / score.sum()) @ v[:, span])
        rows.append(torch.cat(parts))
    return torch.stack(rows) @ p[f"{name}.out_proj.weight"].T + p[f"{name}.out_proj.bias"]


def transformer_codes(state, x, depths, heads=4):
    """Codes [1,L,D] of one image [1,3,S,S] in [0,1], without the average."""
    p, side = under(state, "encoder.module."), x.shape[2]
    x = stretch(2 * x - 1, 2 * side, 2 * side, aligned=False)
    levels = pyramid(p, x[:, :, side // 4 : 2 * side - side // 4], depths)
    query = torch.stack([mapped(under(state, "decoder.module."), z) for z in p["z"][0]])
    for name, level in zip(("coarse", "medium", "fine"), levels, strict=True):
        layer = under(p, f"transformerlayer_{name}.")
        memory = level[0].permute(1, 2, 0).reshape(-1, level.shape[1])
        query = layer_normalised(layer, "norm1", query + attended(layer, "self_attn", query, query, heads))
        query = layer_normalised(layer, "norm2", query + attended(layer, "multihead_attn", query, memory, heads))
        hidden = (query @ layer["linear1.weight"].T + layer["linear1.bias"]).clamp(min=0)
        query = layer_normalised(layer, "norm3", query + hidden @ layer["linear2.weight"].T + layer["linear2.bias"])
    return query[None]


def leaky(x):
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def mapped(p, z):
    """Return the style w [D] of one z [D]."""
    z = z / torch.sqrt(z.square().mean() + 1e-8)
    number = 1
    while f"style.{number}.weight" in p:
        z = leaky(p[f"style.{number}.weight"] @ z * 0.01 / math.sqrt(len(z)) + 0.01 * p[f"style.{number}.bias"])
        number += 1
    return z


def with_zeros(x):
    """Insert a zero to the right of and below every pixel."""
    found = torch.zeros(x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    found[:, :, ::2, ::2] = x
    return found


def blurred(x, kernel, before, after):
    x = pad(x, (before, after, before, after)).transpose(0, 1)
    return conv2d(x, kernel.flip(0, 1)[None, None]).transpose(0, 1)


def modulated(p, x, w, *, demodulate, up=False):
    style = p["conv.modulation.weight"] @ w / math.sqrt(len(w)) + p["conv.modulation.bias"]
    weight = p["conv.weight"][0]
    weight = weight * style.view(1, -1, 1, 1) / math.sqrt(weight[0].numel())
    if demodulate:
        weight = weight / torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
    if not up:
        return conv2d(x, weight, padding=weight.shape[2] // 2)
    spread = conv2d(pad(with_zeros(x)[:, :, :-1, :-1], (2, 2, 2, 2)), weight.flip(2, 3))
    return blurred(spread, p["conv.blur.kernel"], 1, 1)


def styled(p, x, w, noise, *, up=False):
    x = modulated(p, x, w, demodulate=True, up=up) + p["noise.weight"] * noise
    return leaky(x + p["activate.bias"].view(-1, 1, 1))


def generated(p, codes):
    """Return the image [1,3,size,size] of codes [L,D], in about [-1,1], with the noise of the file."""

    def coloured(name, x, w):
        return modulated(under(p, name + "."), x, w, demodulate=False) + p[f"{name}.bias"]

    x = styled(under(p, "conv1."), p["input.input"], codes[0], p["noises.noise_0"])
    image = coloured("to_rgb1", x, codes[1])
    for step in range((len(codes) - 2) // 2):
        at = 1 + 2 * step
        x = styled(under(p, f"convs.{2 * step}."), x, codes[at], p[f"noises.noise_{at}"], up=True)
        x = styled(under(p, f"convs.{2 * step + 1}."), x, codes[at + 1], p[f"noises.noise_{at + 1}"])
        image = blurred(with_zeros(image), p[f"to_rgbs.{step}.upsample.kernel"], 2, 1)
        image = image + coloured(f"to_rgbs.{step}", x, codes[at + 2])
    return image


def averaged(image, side):
    """Average blocks of pixels: [1,3,n·side,n·side] → [1,3,side,side]."""
    n = image.shape[2] // side
    return image.view(1, 3, side, n, side, n).mean((3, 5))
