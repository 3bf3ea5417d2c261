"""The official files and what they compute, from the papers' formulas alone: nothing of purebench is imported.

Keys and shapes are listed, random files in that layout are made, and everything is recomputed one image and one
operation at a time, on the file's state dict.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch.nn.functional import conv2d, pad

OFFICIAL = SimpleNamespace(widths=(64, 128, 256, 512), depths=(3, 4, 14, 3), reduction=16, mappings=8, channels=None)
TINY = SimpleNamespace(
    widths=(4, 8, 12, 16),
    depths=(2, 1, 3, 2),
    reduction=4,
    mappings=3,
    channels={4: 16, 8: 12, 16: 8, 32: 6, 64: 4, 128: 4},
)
OFFICIAL_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


# --- keys and shapes ---------------------------------------------------------------------------------------------


def norm_shapes(name, width):
    several = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{key}": (width,) for key in several} | {f"{name}.num_batches_tracked": ()}


def pyramid_shapes(sizes):
    """input_layer, body, latlayer1 and latlayer2."""
    widths, found = sizes.widths, {}
    found |= {"input_layer.0.weight": (widths[0], 3, 3, 3), "input_layer.2.weight": (widths[0],)}
    found |= norm_shapes("input_layer.1", widths[0])
    inner, number = widths[0], 0
    for outer, depth in zip(widths, sizes.depths, strict=True):
        for _ in range(depth):
            unit = f"body.{number}"
            found |= norm_shapes(f"{unit}.res_layer.0", inner) | norm_shapes(f"{unit}.res_layer.4", outer)
            found[f"{unit}.res_layer.1.weight"] = (outer, inner, 3, 3)
            found[f"{unit}.res_layer.2.weight"] = (outer,)
            found[f"{unit}.res_layer.3.weight"] = (outer, outer, 3, 3)
            found[f"{unit}.res_layer.5.fc1.weight"] = (outer // sizes.reduction, outer, 1, 1)
            found[f"{unit}.res_layer.5.fc2.weight"] = (outer, outer // sizes.reduction, 1, 1)
            if inner != outer:
                found[f"{unit}.shortcut_layer.0.weight"] = (outer, inner, 1, 1)
                found |= norm_shapes(f"{unit}.shortcut_layer.1", outer)
            inner, number = outer, number + 1
    for name, width in (("latlayer1", widths[2]), ("latlayer2", widths[1])):
        found |= {f"{name}.weight": (widths[3], width, 1, 1), f"{name}.bias": (widths[3],)}
    return found


def generator_shapes(size, sizes):
    """rosinality's StyleGAN2 generator."""
    channels, dim, found = sizes.channels or OFFICIAL_CHANNELS, sizes.widths[-1], {}

    def modulated(name, outer, inner, side):
        found[f"{name}.weight"] = (1, outer, inner, side, side)
        found[f"{name}.modulation.weight"], found[f"{name}.modulation.bias"] = (inner, dim), (inner,)

    def styled(name, outer, inner):
        modulated(f"{name}.conv", outer, inner, 3)
        found[f"{name}.noise.weight"], found[f"{name}.activate.bias"] = (1,), (outer,)

    def colours(name, inner):
        modulated(f"{name}.conv", 3, inner, 1)
        found[f"{name}.bias"] = (1, 3, 1, 1)

    for number in range(1, sizes.mappings + 1):
        found[f"style.{number}.weight"], found[f"style.{number}.bias"] = (dim, dim), (dim,)
    found["input.input"], inner = (1, channels[4], 4, 4), channels[4]
    styled("conv1", inner, inner)
    colours("to_rgb1", inner)
    log = int(math.log2(size))
    for number, outer in enumerate(channels[2**step] for step in range(3, log + 1)):
        styled(f"convs.{2 * number}", outer, inner)
        found[f"convs.{2 * number}.conv.blur.kernel"] = (4, 4)
        styled(f"convs.{2 * number + 1}", outer, outer)
        colours(f"to_rgbs.{number}", outer)
        found[f"to_rgbs.{number}.upsample.kernel"] = (4, 4)
        inner = outer
    for number in range(2 * log - 3):
        side = 2 ** ((number + 5) // 2)
        found[f"noises.noise_{number}"] = (1, 1, side, side)
    return found


def e4e_shapes(size, image, sizes):
    found, dim = pyramid_shapes(sizes), sizes.widths[-1]
    coarse = int(math.log2(image // 16))
    for code in range(2 * int(math.log2(size)) - 2):
        for conv in range(coarse + (code >= 3) + (code >= 7)):
            found[f"styles.{code}.convs.{2 * conv}.weight"] = (dim, dim, 3, 3)
            found[f"styles.{code}.convs.{2 * conv}.bias"] = (dim,)
        found[f"styles.{code}.linear.weight"], found[f"styles.{code}.linear.bias"] = (dim, dim), (dim,)
    return prefixed("encoder.", found) | prefixed("decoder.", generator_shapes(size, sizes))


def transformer_shapes(size, hidden, sizes):
    found, dim = pyramid_shapes(sizes), sizes.widths[-1]
    found["z"] = (1, 2 * int(math.log2(size)) - 2, dim)
    for level in ("coarse", "medium", "fine"):
        layer = f"transformerlayer_{level}"
        for kind in ("self_attn", "multihead_attn"):
            found[f"{layer}.{kind}.in_proj_weight"] = (3 * dim, dim)
            found[f"{layer}.{kind}.in_proj_bias"] = (3 * dim,)
            found[f"{layer}.{kind}.out_proj.weight"] = (dim, dim)
            found[f"{layer}.{kind}.out_proj.bias"] = (dim,)
        found[f"{layer}.linear1.weight"], found[f"{layer}.linear1.bias"] = (hidden, dim), (hidden,)
        found[f"{layer}.linear2.weight"], found[f"{layer}.linear2.bias"] = (dim, hidden), (dim,)
        found |= {f"{layer}.norm{n}.{key}": (dim,) for n in (1, 2, 3) for key in ("weight", "bias")}
    return prefixed("encoder.module.", found) | prefixed("decoder.module.", generator_shapes(size, sizes))


def architecture(sizes, **others):
    """The arguments of a model of these sizes."""
    return vars(sizes) | others


def prefixed(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def random_state(shapes, seed):
    """Random weights of those shapes, of sizes that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif name.endswith("kernel"):
            state[name] = kernel.clone()
        elif ".style." in name and name.endswith("weight"):
            state[name] = 100 * normal(*shape)
        elif ".style." in name:
            state[name] = 20 * normal(*shape)
        elif name.endswith("modulation.bias"):
            state[name] = 1 + 0.2 * normal(*shape)
        elif "to_rgb" in name and "modulation" not in name:
            state[name] = 0.1 * normal(*shape)
        elif "decoder" in name or name.endswith((".z", "linear.weight")):
            state[name] = normal(*shape)
        elif len(shape) > 1:
            state[name] = normal(*shape) / math.sqrt(math.prod(shape[1:]))
        else:
            state[name] = (1 if name.endswith("weight") else 0) + 0.3 * normal(*shape)
    return state


# --- what they compute -------------------------------------------------------------------------------------------


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
    """Bilinear resizing as two matrices."""

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
    """Coarse, medium and fine features of one image [1,3,H,W] in [-1,1]."""
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
    """One attention, head by head and query by query; [L,D] on [M,D] → [L,D]."""
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
    """w [D] of one z [D]."""
    z = z / torch.sqrt(z.square().mean() + 1e-8)
    number = 1
    while f"style.{number}.weight" in p:
        z = leaky(p[f"style.{number}.weight"] @ z * 0.01 / math.sqrt(len(z)) + 0.01 * p[f"style.{number}.bias"])
        number += 1
    return z


def stuffed(x):
    """Every pixel followed by a zero, right and below."""
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
    spread = conv2d(pad(stuffed(x)[:, :, :-1, :-1], (2, 2, 2, 2)), weight.flip(2, 3))
    return blurred(spread, p["conv.blur.kernel"], 1, 1)


def styled(p, x, w, noise, *, up=False):
    x = modulated(p, x, w, demodulate=True, up=up) + p["noise.weight"] * noise
    return leaky(x + p["activate.bias"].view(-1, 1, 1))


def generated(p, codes):
    """The image [1,3,size,size] of codes [L,D], in about [-1,1], with the file's own noise."""

    def coloured(name, x, w):
        return modulated(under(p, name + "."), x, w, demodulate=False) + p[f"{name}.bias"]

    x = styled(under(p, "conv1."), p["input.input"], codes[0], p["noises.noise_0"])
    image = coloured("to_rgb1", x, codes[1])
    for step in range((len(codes) - 2) // 2):
        at = 1 + 2 * step
        x = styled(under(p, f"convs.{2 * step}."), x, codes[at], p[f"noises.noise_{at}"], up=True)
        x = styled(under(p, f"convs.{2 * step + 1}."), x, codes[at + 1], p[f"noises.noise_{at + 1}"])
        image = blurred(stuffed(image), p[f"to_rgbs.{step}.upsample.kernel"], 2, 1)
        image = image + coloured(f"to_rgbs.{step}", x, codes[at + 2])
    return image


def averaged(image, side):
    """Means over blocks of pixels, [1,3,n·side,n·side] → [1,3,side,side]."""
    n = image.shape[2] // side
    return image.view(1, 3, side, n, side, n).mean((3, 5))
