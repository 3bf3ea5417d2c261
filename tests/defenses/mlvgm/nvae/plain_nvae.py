"""Reference implementation of NVAE-from-scratch's file layout and purification, from the specification alone.

Keys and shapes are a table; the forward pass consists of functional calls on a state dict.
"""

from __future__ import annotations

import torch
from torch.nn import functional

PLAIN = {
    "num_scales": 2,
    "num_groups_per_scale": 2,
    "is_adaptive": False,
    "min_groups_per_scale": 1,
    "num_cells_per_group": 1,
    "num_latent_per_group": 3,
    "num_nf_cells": None,
    "initial_channels": 4,
    "num_pre-post_process_blocks": 1,
    "num_pre-post_process_cells": 2,
    "num_logistic_mixtures": 3,
}
ADAPTIVE = PLAIN | {"num_groups_per_scale": 3, "is_adaptive": True, "num_cells_per_group": 2, "num_nf_cells": 2}
GROUPS = {"plain": [2, 2], "adaptive": [1, 3], "deep": [1, 1, 2]}
DEEP = PLAIN | {
    "num_scales": 3,
    "is_adaptive": True,
    "num_pre-post_process_blocks": 2,
    "num_pre-post_process_cells": 1,
}
AUTOENCODERS = {"plain": PLAIN, "adaptive": ADAPTIVE, "deep": DEEP}


def configuration(name: str, channels: int = 3, size: int = 16) -> dict:
    return {"resolution": [channels, size, size], "autoencoder": AUTOENCODERS[name], "training": {"epochs": 400}}


def shapes(a: dict, groups: list[int], channels: int, size: int) -> dict[str, tuple[int, ...]]:
    """Return every key of a file with its shape."""
    found: dict[str, tuple[int, ...]] = {}

    def wn(name, outer, inner, k):
        found[f"{name}.bias"] = (outer,)
        found[f"{name}.parametrizations.weight.original0"] = (outer, 1, 1, 1)
        found[f"{name}.parametrizations.weight.original1"] = (outer, inner, k, k)

    def bn(name, c):
        found.update({f"{name}.{part}": (c,) for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    def se(name, c):
        hidden = max(c // 16, 4)
        found.update({f"{name}.linear_1.weight": (hidden, c), f"{name}.linear_1.bias": (hidden,)})
        found.update({f"{name}.linear_2.weight": (c, hidden), f"{name}.linear_2.bias": (c,)})

    def enc(name, c, down=False):
        outer = 2 * c if down else c
        bn(f"{name}.residual.0", c)
        wn(f"{name}.residual.2", outer, c, 3)
        bn(f"{name}.residual.3", outer)
        wn(f"{name}.residual.5", outer, outer, 3)
        se(f"{name}.residual.6", outer)
        if down:
            wn(f"{name}.skip_connection.conv", outer, c, 1)

    def dec(name, c, up=False, times=6):
        outer, at, hidden = (c // 2, 1, times * c) if up else (c, 0, times * c)
        bn(f"{name}.residual.{at}", c)
        found[f"{name}.residual.{at + 1}.weight"] = (hidden, c, 1, 1)
        bn(f"{name}.residual.{at + 2}", hidden)
        found[f"{name}.residual.{at + 4}.weight"] = (hidden, 1, 5, 5)
        bn(f"{name}.residual.{at + 5}", hidden)
        found[f"{name}.residual.{at + 7}.weight"] = (outer, hidden, 1, 1)
        bn(f"{name}.residual.{at + 8}", outer)
        se(f"{name}.residual.{at + 9}", outer)
        if up:
            wn(f"{name}.skip_connection.conv", outer, c, 1)

    blocks, cells = a["num_pre-post_process_blocks"], a["num_pre-post_process_cells"]
    z, width = a["num_latent_per_group"], a["initial_channels"]
    wn("preprocessing_block.init_conv", width, channels, 3)
    for b in range(blocks):
        for c in range(cells):
            enc(f"preprocessing_block.block_{b}.cell_{c}", width * 2**b, down=c == cells - 1)
            post = width * 2 ** (blocks - b - (c > 0))
            dec(f"postprocessing_block.block_{b}.cell_{c}", post, up=c == 0, times=3)
    per_mixture = 9 if channels == 3 else 2
    wn("to_logits.1", a["num_logistic_mixtures"] * (1 + per_mixture), width, 3)
    for s, count in enumerate(groups):
        wide = width * 2 ** (blocks + len(groups) - 1 - s)
        for g in range(count):
            first = s == g == 0
            for c in range(a["num_cells_per_group"]):
                enc(f"encoder_tower.scale_{s}.group_{g}.cell_{c}", wide)
                if not first:
                    dec(f"decoder_tower.scale_{s}.group_{g}.cell_{c}", wide)
            wn(f"enc_sampler.sampler_{s}:{g}", 2 * z, wide, 3)
            wn(f"decoder_combiners.combiner_{s}:{g}.conv", wide, wide + z, 1)
            if not first:
                wn(f"encoder_combiners.combiner_{s}:{g}.conv", wide, wide, 1)
                wn(f"dec_sampler.sampler_{s}:{g}.1", 2 * z, wide, 1)
            for n in range(a["num_nf_cells"] or 0):
                for cell in ("cell1", "cell2"):
                    name = f"nf_cells.nf_{s}:{g}.{n}.{cell}.layers"
                    for layer, outer, inner, k in ((0, 6 * z, z, 3), (2, 6 * z, 1, 5), (4, z, 6 * z, 1)):
                        found[f"{name}.{layer}.weight"] = found[f"{name}.{layer}.mask"] = (outer, inner, k, k)
                        found[f"{name}.{layer}.bias"] = (outer,)
        if s > 0:
            enc(f"encoder_tower.scale_{s}.downsampling", wide, down=True)
        if s < len(groups) - 1:
            dec(f"decoder_tower.scale_{s}.upsampling", wide, up=True)
    top = width * 2 ** (blocks + len(groups) - 1)
    wn("encoder_0.1", top, top, 1)
    found["const_prior"] = (1, top, size // 2 ** (blocks + len(groups) - 1), size // 2 ** (blocks + len(groups) - 1))
    return found


def random_state(name: str, channels: int = 3, size: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights and batch statistics under those keys; masks are 1, but 0 in a flow's last layer."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes(AUTOENCODERS[name], GROUPS[name], channels, size).items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif key.endswith("running_var"):
            value = 0.5 + value.abs()
        elif key.endswith("mask"):
            value = torch.full(shape, float(".4." not in key))
        elif key.endswith("original0"):
            value = 0.8 + 0.4 * value.abs()
        elif len(shape) > 1:
            value = value * (2 / value[0].numel()) ** 0.5
        else:
            value = 0.3 * value + (1 if ".residual." in key and key.endswith(".weight") else 0)
        state[key] = value
    return state


def autoencode(state: dict[str, torch.Tensor], name: str, x: torch.Tensor, mix, temperature: float) -> torch.Tensor:
    """Purify as in section 2.2 of the specification, with noise from torch's generator latent by latent."""
    a, groups = AUTOENCODERS[name], GROUPS[name]
    z_channels, cells = a["num_latent_per_group"], a["num_cells_per_group"]
    blocks, block_cells = a["num_pre-post_process_blocks"], a["num_pre-post_process_cells"]

    def wn(key, h, **options):
        g, v = (state[f"{key}.parametrizations.weight.original{i}"] for i in (0, 1))
        weight = g * v / v.square().sum((1, 2, 3), keepdim=True).sqrt()
        return functional.conv2d(h, weight, state[f"{key}.bias"], padding=v.shape[-1] // 2, **options)

    def bn(key, h):
        mean, var, weight, bias = (
            state[f"{key}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (h - mean) / (var + 1e-5).sqrt() * weight + bias

    def se(key, h):
        gate = torch.relu(h.mean((2, 3)) @ state[f"{key}.linear_1.weight"].T + state[f"{key}.linear_1.bias"])
        gate = torch.sigmoid(gate @ state[f"{key}.linear_2.weight"].T + state[f"{key}.linear_2.bias"])
        return h * gate[:, :, None, None]

    def silu(h):
        return h * torch.sigmoid(h)

    def enc(key, h, down=False):
        stride = 2 if down else 1
        r = wn(f"{key}.residual.2", silu(bn(f"{key}.residual.0", h)), stride=stride)
        r = se(f"{key}.residual.6", wn(f"{key}.residual.5", silu(bn(f"{key}.residual.3", r))))
        return (wn(f"{key}.skip_connection.conv", silu(h), stride=2) if down else h) + 0.1 * r

    def dec(key, h, up=False):
        at = int(up)
        r = h.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else h
        r = functional.conv2d(bn(f"{key}.residual.{at}", r), state[f"{key}.residual.{at + 1}.weight"])
        r = silu(bn(f"{key}.residual.{at + 2}", r))
        r = functional.conv2d(r, state[f"{key}.residual.{at + 4}.weight"], padding=2, groups=r.shape[1])
        r = functional.conv2d(silu(bn(f"{key}.residual.{at + 5}", r)), state[f"{key}.residual.{at + 7}.weight"])
        r = se(f"{key}.residual.{at + 9}", bn(f"{key}.residual.{at + 8}", r))
        if up:
            grown = functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = wn(f"{key}.skip_connection.conv", grown)
        return h + 0.1 * r

    def normal(mean, log_std, t=1.0):
        return 5 * torch.tanh(mean / 5), t * torch.exp(5 * torch.tanh(log_std / 5))

    h = wn("preprocessing_block.init_conv", (x - 0.5) / 0.5)
    for b in range(blocks):
        for c in range(block_cells):
            h = enc(f"preprocessing_block.block_{b}.cell_{c}", h, down=c == block_cells - 1)
    features = {}
    for s in range(len(groups) - 1, -1, -1):
        for g in range(groups[s]):  # in ascending order, as the specification says
            for c in range(cells):
                h = enc(f"encoder_tower.scale_{s}.group_{g}.cell_{c}", h)
            features[s, g] = h
        if s > 0:
            h = enc(f"encoder_tower.scale_{s}.downsampling", h, down=True)
    features[0, 0] = functional.elu(wn("encoder_0.1", functional.elu(h)))

    h = state["const_prior"].repeat(len(x), 1, 1, 1)
    index = 0
    for s, count in enumerate(groups):
        for g in range(count):
            place = f"{s}:{g}"
            if index == 0:
                mean_p = log_p = torch.zeros(len(x), z_channels, *h.shape[2:], dtype=x.dtype)
                q_in = features[0, 0]
            else:
                for c in range(cells):
                    h = dec(f"decoder_tower.scale_{s}.group_{g}.cell_{c}", h)
                mean_p, log_p = wn(f"dec_sampler.sampler_{place}.1", functional.elu(h)).chunk(2, 1)
                q_in = features[s, g] + wn(f"encoder_combiners.combiner_{place}.conv", h)
            mean_q, log_q = wn(f"enc_sampler.sampler_{place}", q_in).chunk(2, 1)
            code, _ = normal(mean_p + mean_q, log_p + log_q)
            mean, std = normal(mean_p, log_p, temperature)
            z = mix(index, code, mean + std * torch.randn(mean.shape, dtype=x.dtype))
            for n in range(a["num_nf_cells"] or 0):  # the last layer is masked: a cell subtracts its bias
                for cell in ("cell1", "cell2"):
                    z = z - state[f"nf_cells.nf_{place}.{n}.{cell}.layers.4.bias"][:, None, None]
            h = wn(f"decoder_combiners.combiner_{place}.conv", torch.cat([h, z], 1))
            index += 1
        if s < len(groups) - 1:
            h = dec(f"decoder_tower.scale_{s}.upsampling", h, up=True)
    for b in range(blocks):
        for c in range(block_cells):
            h = dec(f"postprocessing_block.block_{b}.cell_{c}", h, up=c == 0)
    return mixture_mean(wn("to_logits.1", functional.elu(h)), a["num_logistic_mixtures"], x.shape[1])


def mixture_mean(raw: torch.Tensor, mixtures: int, channels: int) -> torch.Tensor:
    share = raw[:, :mixtures].softmax(1)
    per = 9 if channels == 3 else 2

    def averaged(offset, squash=lambda v: v):
        return sum(share[:, n] * squash(raw[:, mixtures + n * per + offset]) for n in range(mixtures))

    red = averaged(0).clamp(-1, 1)
    if channels == 1:
        return (red * 0.5 + 0.5)[:, None]
    green = (averaged(1) + averaged(6, torch.tanh) * red).clamp(-1, 1)
    blue = (averaged(2) + averaged(7, torch.tanh) * red + averaged(8, torch.tanh) * green).clamp(-1, 1)
    return torch.stack([red, green, blue], 1) * 0.5 + 0.5
