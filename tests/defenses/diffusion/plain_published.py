"""Reference forward passes of EDM and of DDPM's U-Net from a state dict, without importing purebench."""

from __future__ import annotations

import math

import torch
from plain_networks import attention_by_position, doubled, halved
from torch.nn import functional as F


class Plain:
    """Layers by their key in a state dict."""

    def __init__(self, state):
        self.state = state

    def conv(self, name, x, stride=1, padding=None):
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride, padding)

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name, x, groups):
        return F.group_norm(x, groups, self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps=1e-6)

    def has(self, name):
        return f"{name}.weight" in self.state


class EDM(Plain):
    """The denoiser D(x; sigma) of Karras et al. 2022, table 1, VP column of the architecture."""

    def block(self, name, x, time):
        resize = {"down": halved, "_up": doubled}.get(name[-4:] if name.endswith("down") else name[-3:], lambda h: h)
        h = self.conv(f"{name}.conv0", resize(F.silu(self.norm(f"{name}.norm0", x, min(32, x.shape[1] // 4)))))
        h = h + self.linear(f"{name}.affine", time)[:, :, None, None]
        channels = h.shape[1]
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", h, min(32, channels // 4))))
        x = (h + (self.conv(f"{name}.skip", resize(x)) if self.has(f"{name}.skip") else x)) / math.sqrt(2)
        if not self.has(f"{name}.qkv"):
            return x
        qkv = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", x, min(32, channels // 4))).flatten(2)
        seen = [attention_by_position(one[0::3], one[1::3], one[2::3]) for one in qkv]
        return (x + self.conv(f"{name}.proj", torch.stack(seen).view_as(x))) / math.sqrt(2)

    def __call__(self, x, sigma, sides, blocks):
        inside = x / (sigma**2 + 0.25) ** 0.5
        width = self.state["model.map_layer0.weight"].shape[1]
        angles = [math.log(sigma) / 4 / 10000 ** (i / (width // 2 - 1)) for i in range(width // 2)]
        time = torch.tensor([[*map(math.sin, angles), *map(math.cos, angles)]])
        time = F.silu(self.linear("model.map_layer1", F.silu(self.linear("model.map_layer0", time))))
        h = self.conv(f"model.enc.{sides[0]}x{sides[0]}_conv", inside)
        kept = [h]
        for side in sides:
            if side != sides[0]:
                h = self.block(f"model.enc.{side}x{side}_down", h, time)
                kept.append(h)
            for number in range(blocks):
                h = self.block(f"model.enc.{side}x{side}_block{number}", h, time)
                kept.append(h)
        for side in reversed(sides):
            names = ["in0", "in1"] if side == sides[-1] else ["up"]
            for name in names:
                h = self.block(f"model.dec.{side}x{side}_{name}", h, time)
            for number in range(blocks + 1):
                h = self.block(f"model.dec.{side}x{side}_block{number}", torch.cat([h, kept.pop()], 1), time)
        last = f"model.dec.{sides[0]}x{sides[0]}_aux_"
        h = self.conv(f"{last}conv", F.silu(self.norm(f"{last}norm", h, min(32, h.shape[1] // 4))))
        return 0.25 / (sigma**2 + 0.25) * x + sigma * 0.5 / (sigma**2 + 0.25) ** 0.5 * h


class HoUNet(Plain):
    """DDPM's U-Net in the layout of pesser's port."""

    def __init__(self, state, groups):
        super().__init__(state)
        self.groups = groups

    def residual(self, name, x, time):
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x, self.groups)))
        h = h + self.linear(f"{name}.temb_proj", F.silu(time))[:, :, None, None]
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h, self.groups)))
        return h + (self.conv(f"{name}.nin_shortcut", x) if self.has(f"{name}.nin_shortcut") else x)

    def attention(self, name, x):
        h = self.norm(f"{name}.norm", x, self.groups)
        query, key, value = (self.conv(f"{name}.{part}", h).flatten(2) for part in "qkv")
        seen = torch.stack([attention_by_position(*one) for one in zip(query, key, value, strict=True)])
        return x + self.conv(f"{name}.proj_out", seen.view_as(x))

    def level(self, name, x, time):
        x = self.residual(name, x, time)
        attention = name.replace("block", "attn")
        return self.attention(attention, x) if self.has(f"{attention}.q") else x

    def __call__(self, x, t, levels, blocks):
        width = self.state["temb.dense.0.weight"].shape[1]
        angles = torch.stack([t.float() / 10000 ** (i / (width // 2 - 1)) for i in range(width // 2)], 1)
        time = self.linear("temb.dense.0", torch.cat([angles.sin(), angles.cos()], 1))
        time = self.linear("temb.dense.1", F.silu(time))
        kept = [self.conv("conv_in", x)]
        for level in range(levels):
            for number in range(blocks):
                kept.append(self.level(f"down.{level}.block.{number}", kept[-1], time))
            if level < levels - 1:  # the authors pad on the right and below only
                kept.append(self.conv(f"down.{level}.downsample.conv", F.pad(kept[-1], (0, 1, 0, 1)), 2, 0))
        h = self.residual("mid.block_1", kept[-1], time)
        h = self.residual("mid.block_2", self.attention("mid.attn_1", h), time)
        for level in reversed(range(levels)):
            for number in range(blocks + 1):
                h = self.level(f"up.{level}.block.{number}", torch.cat([h, kept.pop()], 1), time)
            h = self.conv(f"up.{level}.upsample.conv", doubled(h)) if level else h
        return self.conv("conv_out", F.silu(self.norm("norm_out", h, self.groups)))


def ho_shapes(channels, width, multiples, blocks, attended):
    """Return the keys and shapes of DDPM's U-Net in pesser's layout, written down from its description."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name, outer, inner, kernel=None):
        shapes[f"{name}.weight"] = (outer, inner) if kernel is None else (outer, inner, kernel, kernel)
        shapes[f"{name}.bias"] = (outer,)

    def norm(name, count):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (count,)

    def residual(name, inner, outer):
        norm(f"{name}.norm1", inner)
        layer(f"{name}.conv1", outer, inner, 3)
        layer(f"{name}.temb_proj", outer, 4 * width)
        norm(f"{name}.norm2", outer)
        layer(f"{name}.conv2", outer, outer, 3)
        if inner != outer:
            layer(f"{name}.nin_shortcut", outer, inner, 1)

    def attention(name, count):
        norm(f"{name}.norm", count)
        for part in ("q", "k", "v", "proj_out"):
            layer(f"{name}.{part}", count, count, 1)

    layer("temb.dense.0", 4 * width, width)
    layer("temb.dense.1", 4 * width, 4 * width)
    layer("conv_in", width, channels, 3)
    wide, kept = width, [width]
    for level, multiple in enumerate(multiples):
        for number in range(blocks):
            residual(f"down.{level}.block.{number}", wide, width * multiple)
            wide = width * multiple
            kept.append(wide)
            if attended[level]:
                attention(f"down.{level}.attn.{number}", wide)
        if level < len(multiples) - 1:
            layer(f"down.{level}.downsample.conv", wide, wide, 3)
            kept.append(wide)
    residual("mid.block_1", wide, wide)
    attention("mid.attn_1", wide)
    residual("mid.block_2", wide, wide)
    for level, multiple in reversed(list(enumerate(multiples))):
        for number in range(blocks + 1):
            residual(f"up.{level}.block.{number}", wide + kept.pop(), width * multiple)
            wide = width * multiple
            if attended[level]:
                attention(f"up.{level}.attn.{number}", wide)
        if level:
            layer(f"up.{level}.upsample.conv", wide, wide, 3)
    norm("norm_out", wide)
    layer("conv_out", channels, wide, 3)
    return shapes
