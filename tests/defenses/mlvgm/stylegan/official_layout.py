"""Keys and shapes of the official StyleGAN2 files and random weights in that layout, without purebench."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

OFFICIAL = SimpleNamespace(widths=(64, 128, 256, 512), depths=(3, 4, 14, 3), reduction=16, mappings=8, channels=None)
TINY = SimpleNamespace(
    widths=(4, 8, 12, 16),
    depths=(2, 1, 3, 2),
    reduction=4,
    mappings=3,
    channels={4: 16, 8: 12, 16: 8, 32: 6, 64: 4, 128: 4},
)
OFFICIAL_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def norm_shapes(name, width):
    several = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{key}": (width,) for key in several} | {f"{name}.num_batches_tracked": ()}


def pyramid_shapes(sizes):
    """Return the shapes of input_layer, body, latlayer1 and latlayer2."""
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
    """Return the shapes of rosinality's StyleGAN2 generator."""
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
    """Return the arguments of a model of these sizes."""
    return vars(sizes) | others


def prefixed(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def random_state(shapes, seed):
    """Return random weights of those shapes, scaled so that activations stay near 1."""
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
