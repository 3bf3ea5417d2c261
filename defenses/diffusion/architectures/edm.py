"""The CIFAR-10 network of EDM, with the keys of its checkpoints (Karras et al. 2022, arXiv:2206.00364).

It is the DDPM++ of Song et al. 2021 under EDM's preconditioning, `SongUNet` in the authors' code. Attention consists of
plain products and a softmax, so that second derivatives exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.diffusion.sampling import noise_levels

DATA = 0.5
"""Standard deviation of the data, sigma_data."""


def coefficients(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return c_skip, c_out, c_in and c_noise at noise levels (Karras et al. 2022, table 1).

    Args:
        sigma: standard deviations of the noise [N], in the units of [-1,1].
    """
    total = sigma**2 + DATA**2
    return DATA**2 / total, sigma * DATA / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of at least four channels a group, with at most 32 groups."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Convolution(nn.Conv2d):
    """Convolution of unchanged size that may halve or double the image first, with the authors' filter [1,1].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        kernel: pixels a side, 1 or 3.
        resize: `up`, `down` or neither.
    """

    def __init__(self, inner: int, outer: int, kernel: int, resize: str = ""):
        super().__init__(inner, outer, kernel, padding=kernel // 2)
        self.resize = resize
        if resize:
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        if self.resize == "up":
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return super().forward(functional.avg_pool2d(x, 2) if self.resize == "down" else x)


class Block(nn.Module):
    """Residual block, with self-attention after it where asked for; both are rescaled by sqrt(1/2).

    Args:
        inner: channels of the input.
        outer: channels of the output.
        embedding: length E of the noise embedding.
        attends: whether the block has attention.
        resize: `up`, `down` or neither.
    """

    def __init__(self, inner: int, outer: int, embedding: int, *, attends: bool = False, resize: str = ""):
        super().__init__()
        self.outer, self.attends = outer, attends
        self.norm0, self.conv0 = norm(inner), Convolution(inner, outer, 3, resize)
        self.affine = nn.Linear(embedding, outer)
        self.norm1, self.conv1 = norm(outer), Convolution(outer, outer, 3)
        self.skip = Convolution(inner, outer, 1, resize) if inner != outer or resize else None
        if attends:
            self.norm2, self.qkv, self.proj = norm(outer), nn.Conv2d(outer, 3 * outer, 1), nn.Conv2d(outer, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the features of the block, given the noise embedding [N,E]."""
        inside = self.conv0(functional.silu(self.norm0(x))) + self.affine(embedding)[:, :, None, None]
        inside = self.conv1(functional.silu(self.norm1(inside)))
        x = (inside + (x if self.skip is None else self.skip(x))) * math.sqrt(0.5)
        return (x + self.attention(x)) * math.sqrt(0.5) if self.attends else x

    def attention(self, x: Tensor) -> Tensor:
        """Return the output of single-head attention; a channel's query, key and value stand side by side in qkv."""
        query, key, value = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (self.outer, 3)).unbind(2)
        weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(self.outer), -1)
        out: Tensor = self.proj((value @ weights.transpose(1, 2)).view_as(x))
        return out


class Inner(nn.Module):
    """The network F under the preconditioning; the arguments are those of EDM."""

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        multiples: Sequence[int],
        blocks: int,
        attended: Sequence[bool],
        augmented: int,
    ):
        super().__init__()
        self.width, embedding, wide = width, 4 * width, width
        self.map_augment = nn.Linear(augmented, width, bias=False) if augmented else None  # for training only
        self.map_layer0, self.map_layer1 = nn.Linear(width, embedding), nn.Linear(embedding, embedding)
        sides = [size >> level for level in range(len(multiples))]
        self.enc = nn.ModuleDict({f"{size}x{size}_conv": Convolution(channels, width, 3)})
        kept = [width]
        for side, multiple, attends in zip(sides, multiples, attended, strict=True):
            if side != size:
                self.enc[f"{side}x{side}_down"] = Block(wide, wide, embedding, resize="down")
                kept.append(wide)
            for place in range(blocks):
                self.enc[f"{side}x{side}_block{place}"] = Block(wide, width * multiple, embedding, attends=attends)
                wide = width * multiple
                kept.append(wide)
        self.dec = nn.ModuleDict()
        for side, multiple, attends in reversed(list(zip(sides, multiples, attended, strict=True))):
            if side == sides[-1]:
                self.dec[f"{side}x{side}_in0"] = Block(wide, wide, embedding, attends=True)
                self.dec[f"{side}x{side}_in1"] = Block(wide, wide, embedding)
            else:
                self.dec[f"{side}x{side}_up"] = Block(wide, wide, embedding, resize="up")
            for place in range(blocks + 1):
                self.dec[f"{side}x{side}_block{place}"] = Block(
                    wide + kept.pop(), width * multiple, embedding, attends=attends and place == blocks
                )
                wide = width * multiple
        self.dec[f"{size}x{size}_aux_norm"] = norm(wide)
        self.dec[f"{size}x{size}_aux_conv"] = Convolution(wide, channels, 3)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Return F, like the images [N,C,H,W], at the labels c_noise [N]."""
        half = self.width // 2
        powers = torch.arange(half, dtype=torch.float32, device=x.device) / (half - 1)
        angles = label[:, None] * (10000**-powers).to(label)
        embedding = torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)
        embedding = functional.silu(self.map_layer1(functional.silu(self.map_layer0(embedding))))
        kept: list[Tensor] = []
        for name, layer in self.enc.items():
            x = layer(x) if name.endswith("_conv") else layer(x, embedding)
            kept.append(x)
        for name, layer in self.dec.items():
            if name.endswith("_aux_norm"):
                x = functional.silu(layer(x))
            elif name.endswith("_aux_conv"):
                x = layer(x)
            else:
                x = layer(torch.cat([x, kept.pop()], 1) if "_block" in name else x, embedding)
        return x


class EDM(nn.Module):
    """EDM's denoiser D(x; sigma) on [-1,1], which is also a noise-prediction network eps(x_t, t) of DDPM's schedule.

    Args:
        channels: channels of the images.
        size: pixels a side.
        width: features of the first level.
        multiples: factor on the width at each level.
        blocks: residual blocks of a level.
        attended: whether each level has attention.
        augmented: length of the augmentation label of the training, which is absent here.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        size: int = 32,
        width: int = 128,
        multiples: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attended: Sequence[bool] = (False, True, False),
        augmented: int = 9,
    ):
        super().__init__()
        self.model = Inner(channels, size, width, multiples, blocks, attended, augmented)
        levels = noise_levels()
        self.sigmas: Tensor
        self.register_buffer("sigmas", ((1 - levels) / levels).sqrt(), persistent=False)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Estimate the clean images.

        Args:
            x: noisy images [N,C,H,W]: images in [-1,1] plus noise, without a factor.
            sigma: standard deviations of the noise [N].

        Returns:
            Images [N,C,H,W].
        """
        skip, out, inside, label = (value.to(x) for value in coefficients(sigma))
        skip, out, inside = (value.view(-1, 1, 1, 1) for value in (skip, out, inside))
        denoised: Tensor = skip * x + out * self.model(inside * x, label)
        return denoised

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise of a state of DDPM's linear schedule.

        Args:
            x: noisy images sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999; between two of them, the logarithm of sigma is interpolated.

        Returns:
            The predicted noise [N,C,H,W].
        """
        below = t.floor().long().clamp(0, len(self.sigmas) - 2) if t.is_floating_point() else t.clamp(max=998)
        logs, share = self.sigmas.log(), (t - below).to(self.sigmas)
        sigma = torch.lerp(logs[below], logs[below + 1], share).exp().to(x)
        scaled = x * (1 + sigma**2).sqrt().view(-1, 1, 1, 1)
        return (scaled - self.denoise(scaled, sigma)) / sigma.view(-1, 1, 1, 1)
