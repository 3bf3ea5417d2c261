"""Reference implementation of ND-VAE: one slow function over a flat state dict in the released layout.

Written from the description of the layout: every layer of a cell is stored under its name and under its number, and
every group before the latents in `tower` and in `groups_list`. This file reads the copy that the package does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

RESIDUAL = ("bn1", None, "conv1", "bn2", None, "conv2", "squeeze_excitation")
GENERATIVE = (
    *("bn1", "expand", "bn_expanded1", None, "dep_sep_conv", "bn_expanded2"),
    *(None, "expand2", "bn2", "squeeze_excitation"),
)


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    halvings: int = 2
    scales: int = 2
    groups: int = 1
    cells: int = 2
    mixtures: int = 10


def random_state(sizes: Sizes, seed: int | None = 0) -> dict[str, torch.Tensor]:
    """Return random weights under all released keys, with equal copies; without a seed, zeros without storage."""
    generator = torch.Generator().manual_seed(seed or 0)
    state: dict[str, torch.Tensor] = {}

    def randn(*shape):
        return torch.zeros(1).expand(shape) if seed is None else torch.randn(shape, generator=generator)

    def conv(name, inner, outer, side, groups=1):
        fan = inner // groups * side * side
        state[f"{name}.weight"] = randn(outer, inner // groups, side, side)
        if seed is not None:
            state[f"{name}.weight"] *= 0.7 / fan**0.5
        state[f"{name}.bias"] = 0.1 * randn(outer)

    def linear(name, inner, outer):
        state[f"{name}.weight"], state[f"{name}.bias"] = randn(outer, inner) / inner**0.5, randn(outer)

    def bn(name, channels):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + 0.1 * randn(channels), 0.1 * randn(channels)
        state[f"{name}.running_mean"] = 0.1 * randn(channels)
        state[f"{name}.running_var"] = 1 + 0.3 * torch.rand(channels, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def se(name, channels):
        hidden = max(channels // 16, 4)
        linear(f"{name}.se.0", channels, hidden)
        linear(f"{name}.se.2", hidden, channels)

    def again(name, layers, offset):
        numbers = {layer: number + offset for number, layer in enumerate(layers) if layer}
        for key in [key for key in list(state)[-120:] if key.startswith(f"{name}.")]:
            layer, _, rest = key.removeprefix(f"{name}.").partition(".")
            if layer in numbers:
                state[f"{name}.cell.{numbers[layer]}.{rest}"] = state[key]

    def residual(name, inner, outer):
        bn(f"{name}.bn1", inner)
        conv(f"{name}.conv1", inner, outer, 3)
        bn(f"{name}.bn2", outer)
        conv(f"{name}.conv2", outer, outer, 3)
        se(f"{name}.squeeze_excitation", outer)
        if inner != outer:
            for number in (1, 2, 3, 4):
                conv(f"{name}.skip.conv_{number}", inner, outer // 4, 1)
        again(name, RESIDUAL, 0)

    def generative(name, inner, expansion=2, up=False):
        wide, outer = expansion * inner, inner // 2 if up else inner
        bn(f"{name}.bn1", inner)
        bn(f"{name}.bn2", outer)
        bn(f"{name}.bn_expanded1", wide)
        bn(f"{name}.bn_expanded2", wide)
        conv(f"{name}.expand", inner, wide, 1)
        conv(f"{name}.dep_sep_conv.depthwise", wide, wide, 5, groups=wide)
        conv(f"{name}.dep_sep_conv.pointwise", wide, wide, 1)
        conv(f"{name}.expand2", wide, outer, 1)
        se(f"{name}.squeeze_excitation", outer)
        if up:
            conv(f"{name}.skip.1", inner, outer, 1)
        again(name, GENERATIVE, int(up))

    s = sizes
    conv("stem", 3, s.width, 3)
    c = s.width
    for g in range(s.halvings):
        for k in range(s.cells):
            last = k == s.cells - 1
            residual(f"pre_proc.groups_list.{g}.{k}", c, 2 * c if last else c)
            c = 2 * c if last else c
    for key in [key for key in state if key.startswith("pre_proc.groups_list.")]:
        state[key.replace("groups_list", "tower")] = state[key]
    bottom = c
    for scale in range(s.scales):
        conv(f"encoder.combiner_cells.{s.scales - 1 - scale}.conv", c, c, 1)
        for g in range(s.groups):
            for k in range(s.cells):
                residual(f"encoder.enc_tower.{scale}.{g}.{k}", c, c)
        if scale < s.scales - 1:
            residual(f"encoder.enc_tower.{scale}.{s.groups}", c, 2 * c)
            c *= 2
    conv("decoder.post_encoder.cell.1", c, c, 1)
    for scale in range(s.scales):
        conv(f"decoder.combiner_cells.{scale}.conv", 2 * c, c, 1)
        for g in range(s.groups):
            conv(f"decoder.dec_tower.{scale}.{g}.combiner.conv", 2 * c, c, 1)
            for k in range(s.cells):
                generative(f"decoder.dec_tower.{scale}.{g}.group.{k}", c)
        if scale:
            generative(f"decoder.dec_tower.{scale}.{s.groups}", c, up=True)
            c //= 2
    assert c == bottom
    conv(f"decoder.combiner_cells.{s.scales}.conv", 2 * c, c, 1)
    for i in range(s.scales + 1):
        wide = bottom * 2 ** (s.scales - 1) if i == 0 else bottom * 2 ** (s.scales - i)
        conv(f"decoder.samplers.{i}.cell", wide, 2 * wide, 3)
        conv(f"decoder.samplers.{i}.prior_cell.1", wide, 2 * wide, 1)
    number = 0
    for _ in range(s.halvings):
        for k in range(s.cells):
            generative(f"post_proc.tower.{number}", c, expansion=c if k else 2, up=k == 0)
            c = c if k else c // 2
            number += 1
    conv("image_conditional.1", s.width, 10 * s.mixtures, 3)
    if seed is not None:
        state["image_conditional.1.weight"] *= 8
    return state


def purified(state, sizes: Sizes, x: torch.Tensor, noise: float, start: torch.Tensor) -> torch.Tensor:
    """Purify images [N,3,s,s] in [0,1] by noise and the network, with the start [C,h,w]."""
    from torch.nn.functional import elu, relu, silu

    def conv(name, h, stride=1, groups=1):
        w = state[f"{name}.weight"]
        return functional.conv2d(h, w, state[f"{name}.bias"], stride, w.shape[-1] // 2, groups=groups)

    def bn(name, h):
        mean, var = state[f"{name}.running_mean"][:, None, None], state[f"{name}.running_var"][:, None, None]
        scale, shift = state[f"{name}.weight"][:, None, None], state[f"{name}.bias"][:, None, None]
        return scale * (h - mean) / (var + 1e-5).sqrt() + shift

    def se(name, h):
        hidden = relu(h.mean((2, 3)) @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"])
        return h * torch.sigmoid(hidden @ state[f"{name}.2.weight"].T + state[f"{name}.2.bias"])[:, :, None, None]

    def residual(name, h):
        down = f"{name}.skip.conv_1.weight" in state
        r = conv(f"{name}.conv1", silu(bn(f"{name}.bn1", h)), stride=2 if down else 1)
        r = se(f"{name}.squeeze_excitation.se", conv(f"{name}.conv2", silu(bn(f"{name}.bn2", r))))
        if not down:
            return h + r
        h = silu(h)
        corners = ((h, 1), (h[:, :, 1:, 1:], 2), (h[:, :, :, 1:], 3), (h[:, :, 1:, :], 4))
        return torch.cat([conv(f"{name}.skip.conv_{i}", part, stride=2) for part, i in corners], 1) + r

    def generative(name, h):
        up = f"{name}.skip.1.weight" in state
        r = h.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else h
        r = silu(bn(f"{name}.bn_expanded1", conv(f"{name}.expand", bn(f"{name}.bn1", r))))
        r = conv(f"{name}.dep_sep_conv.depthwise", r, groups=r.shape[1])
        r = silu(bn(f"{name}.bn_expanded2", conv(f"{name}.dep_sep_conv.pointwise", r)))
        r = se(f"{name}.squeeze_excitation.se", bn(f"{name}.bn2", conv(f"{name}.expand2", r)))
        if up:
            grown = functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = conv(f"{name}.skip.1", grown)
        return h + r

    def sample(i, h):
        prior_mean, prior_log = conv(f"decoder.samplers.{i}.prior_cell.1", elu(h)).chunk(2, 1)
        mean, log = conv(f"decoder.samplers.{i}.cell", h).chunk(2, 1)
        mean, log = 5 * torch.tanh((mean + prior_mean) / 5), 5 * torch.tanh((log + prior_log) / 5)
        return mean + (log.exp() + 0.01) * torch.randn(mean.shape)

    s = sizes
    h = (x + noise * torch.randn(x.shape)).clamp(0, 1)
    h = conv("stem", 2 * h - 1)
    for g in range(s.halvings):
        for k in range(s.cells):
            h = residual(f"pre_proc.groups_list.{g}.{k}", h)
    seen = [h]
    for scale in range(s.scales):
        for g in range(s.groups):
            for k in range(s.cells):
                h = residual(f"encoder.enc_tower.{scale}.{g}.{k}", h)
        if scale < s.scales - 1:
            h = residual(f"encoder.enc_tower.{scale}.{s.groups}", h)
        seen.insert(0, h)
    z = sample(0, seen[0])
    h = conv("decoder.combiner_cells.0.conv", torch.cat([z, start.repeat(len(x), 1, 1, 1)], 1))
    for scale in range(s.scales):
        for g in range(s.groups):
            r = h
            for k in range(s.cells):
                r = generative(f"decoder.dec_tower.{scale}.{g}.group.{k}", r)
            h = conv(f"decoder.dec_tower.{scale}.{g}.combiner.conv", torch.cat([h, r], 1))
        if scale:
            h = generative(f"decoder.dec_tower.{scale}.{s.groups}", h)
        z = sample(scale + 1, seen[scale + 1] + conv(f"encoder.combiner_cells.{scale}.conv", h))
        h = conv(f"decoder.combiner_cells.{scale + 1}.conv", torch.cat([z, h], 1))
    for k in range(s.halvings * s.cells):
        h = generative(f"post_proc.tower.{k}", h)
    raw = conv("image_conditional.1", elu(h))
    share = raw[:, : s.mixtures].softmax(1)
    per = [raw[:, s.mixtures + 9 * m : s.mixtures + 9 * (m + 1)] for m in range(s.mixtures)]
    means = [sum(share[:, m] * per[m][:, c] for m in range(s.mixtures)) for c in range(3)]
    k = [sum(share[:, m] * torch.tanh(per[m][:, 6 + c]) for m in range(s.mixtures)) for c in range(3)]
    red = means[0].clamp(-1, 1)
    green = (means[1] + k[0] * red).clamp(-1, 1)
    blue = (means[2] + k[1] * red + k[2] * green).clamp(-1, 1)
    return (torch.stack([red, green, blue], 1) + 1) / 2
