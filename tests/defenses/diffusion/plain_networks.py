"""Reference forward passes of guided-diffusion and score_sde from a state dict, without importing purebench."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def random_state(model) -> dict[str, torch.Tensor]:
    """Return random weights under the model's keys, so that no parameter keeps its initial value, such as zero."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator) / math.sqrt(max(value[0].numel(), 4) if value.dim() else 4)
        for name, value in model.state_dict().items()
    }


def attention_by_position(query, key, value):
    """Compute the attention of one image and head [C,P] position by position."""
    seen = []
    for position in range(query.shape[1]):
        scores = torch.stack([(query[:, position] * key[:, other]).sum() for other in range(key.shape[1])])
        weights = torch.exp(scores / math.sqrt(len(query)))
        seen.append((value * weights / weights.sum()).sum(1))
    return torch.stack(seen, 1)


class GuidedUNet:
    """Reference forward pass of guided-diffusion, derived from the names and shapes of a state dict."""

    def __init__(self, state, groups, head_width, split_first):
        self.state, self.groups, self.head_width, self.split_first = state, groups, head_width, split_first

    def has(self, name):
        return f"{name}.weight" in self.state

    def norm(self, name, x):
        return F.group_norm(x, self.groups, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def residual(self, name, x, time, resize):
        h = F.silu(self.norm(f"{name}.in_layers.0", x))
        h, x = resize(h), resize(x)
        h = self.conv(f"{name}.in_layers.2", h)
        added = self.linear(f"{name}.emb_layers.1", F.silu(time))[:, :, None, None]
        if added.shape[1] == 2 * h.shape[1]:
            scale, shift = added[:, : h.shape[1]], added[:, h.shape[1] :]
            h = self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = self.norm(f"{name}.out_layers.0", h + added)
        h = self.conv(f"{name}.out_layers.3", F.silu(h))
        return h + (self.conv(f"{name}.skip_connection", x) if self.has(f"{name}.skip_connection") else x)

    def attention(self, name, x):
        channels, width = x.shape[1], self.head_width
        weight, bias = self.state[f"{name}.qkv.weight"][:, :, 0], self.state[f"{name}.qkv.bias"]
        out = []
        for image in self.norm(f"{name}.norm", x).flatten(2):
            qkv, heads = weight @ image + bias[:, None], []
            for head in range(channels // width):
                if self.split_first:
                    rows = [part * channels + head * width for part in range(3)]
                else:
                    rows = [(3 * head + part) * width for part in range(3)]
                heads.append(attention_by_position(*(qkv[row : row + width] for row in rows)))
            out.append(torch.cat(heads))
        mixed = self.state[f"{name}.proj_out.weight"][:, :, 0] @ torch.stack(out)
        return x + (mixed + self.state[f"{name}.proj_out.bias"][:, None]).view_as(x)

    def block(self, name, x, time, resize):
        """Apply the layers of a block in order.

        Its last layer applies `resize` if it is residual, unless it is the first layer of an output block.
        """
        layer = 0
        while any(key.startswith(f"{name}.{layer}.") for key in self.state) or self.has(f"{name}.{layer}"):
            here = f"{name}.{layer}"
            if self.has(f"{here}.in_layers.0"):
                last = not any(key.startswith(f"{name}.{layer + 1}.") for key in self.state)
                change = resize if last and (layer or name.startswith("input")) else (lambda h: h)
                x = self.residual(here, x, time, change)
            elif self.has(f"{here}.qkv"):
                x = self.attention(here, x)
            elif self.has(f"{here}.op"):
                x = self.conv(f"{here}.op", x, 2)
            elif self.has(f"{here}.conv"):
                x = self.conv(f"{here}.conv", F.interpolate(x, scale_factor=2, mode="nearest"))
            else:
                x = self.conv(here, x)
            layer += 1
        return x

    def __call__(self, x, t, levels, blocks):
        width = self.state["time_embed.0.weight"].shape[1]
        angles = torch.stack([t.float() / 10000 ** (2 * i / width) for i in range(width // 2)], 1)
        time = self.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1))
        time = self.linear("time_embed.2", F.silu(time))
        kept = []
        for place in range(levels * (blocks + 1)):
            joint = place > 0 and place % (blocks + 1) == 0
            x = self.block(f"input_blocks.{place}", x, time, (lambda h: F.avg_pool2d(h, 2)) if joint else lambda h: h)
            kept.append(x)
        x = self.residual("middle_block.0", x, time, lambda h: h)
        x = self.residual("middle_block.2", self.attention("middle_block.1", x), time, lambda h: h)
        for place in range(levels * (blocks + 1)):
            x = self.block(
                f"output_blocks.{place}",
                torch.cat([x, kept.pop()], 1),
                time,
                lambda h: F.interpolate(h, scale_factor=2, mode="nearest"),
            )
        return self.conv("out.2", F.silu(self.norm("out.0", x)))[:, :3]


class DDPMpp:
    """Reference forward pass of DDPM++, derived from a state dict whose modules are used in their order."""

    def __init__(self, state):
        self.state, self.place = state, 3

    def conv(self, name, x):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(self, name, x):
        weight = self.state[f"{name}.weight"]
        return F.group_norm(x, min(len(weight) // 4, 32), weight, self.state[f"{name}.bias"], eps=1e-6)

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def next_name(self):
        self.place += 1
        return f"all_modules.{self.place - 1}"

    def residual(self, x, time, resize=lambda h: h):
        name = self.next_name()
        h = self.conv(f"{name}.Conv_0", resize(F.silu(self.norm(f"{name}.GroupNorm_0", x))))
        h = h + self.linear(f"{name}.Dense_0", F.silu(time))[:, :, None, None]
        h = self.conv(f"{name}.Conv_1", F.silu(self.norm(f"{name}.GroupNorm_1", h)))
        x = resize(x)
        return ((self.conv(f"{name}.Conv_2", x) if f"{name}.Conv_2.weight" in self.state else x) + h) / math.sqrt(2)

    def attention(self, x):
        name = self.next_name()

        def mixed(number, image):
            weight, bias = self.state[f"{name}.NIN_{number}.W"], self.state[f"{name}.NIN_{number}.b"]
            return torch.einsum("cp,cd->dp", image, weight) + bias[:, None]

        normal = self.norm(f"{name}.GroupNorm_0", x).flatten(2)
        out = [mixed(3, attention_by_position(*(mixed(number, image) for number in range(3)))) for image in normal]
        return (x + torch.stack(out).view_as(x)) / math.sqrt(2)

    def time(self, t):
        width = self.state["all_modules.0.weight"].shape[1]
        label = 999 * (t + 1).float() / 1000
        angles = torch.stack([label / 10000 ** (i / (width // 2 - 1)) for i in range(width // 2)], 1)
        embedded = self.linear("all_modules.0", torch.cat([angles.sin(), angles.cos()], 1))
        return self.linear("all_modules.1", F.silu(embedded))

    def __call__(self, x, t, levels, blocks, attended):
        self.place, time = 3, self.time(t)
        kept = [self.conv("all_modules.2", x)]
        for level in range(levels):
            for _ in range(blocks):
                x = self.residual(kept[-1], time)
                kept.append(self.attention(x) if attended[level] else x)
            if level < levels - 1:
                kept.append(self.residual(kept[-1], time, halved))
        x = self.residual(kept[-1], time)
        x = self.residual(self.attention(x), time)
        for level in reversed(range(levels)):
            for _ in range(blocks + 1):
                x = self.residual(torch.cat([x, kept.pop()], 1), time)
            x = self.attention(x) if attended[level] else x
            x = self.residual(x, time, doubled) if level else x
        last = F.silu(self.norm(self.next_name(), x))
        return self.conv(self.next_name(), last)


def halved(h):
    return (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4


def doubled(h):
    return h.repeat_interleave(2, 2).repeat_interleave(2, 3)
