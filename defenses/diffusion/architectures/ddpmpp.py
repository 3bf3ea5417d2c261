"""The DDPM++ network of score_sde for CIFAR-10, with the keys of its checkpoints (Song et al. 2021, arXiv:2011.13456).

The keys are all_modules.N, numbered in the order of use. This is the VP family of that repository: BigGAN's residual
blocks rescaled by 1/sqrt(2), resizing without filters, sinusoidal time embedding, no progressive growing, continuous
time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Embed a time label by sines, then cosines, at frequencies from 1 down to 1/10,000.

    Args:
        t: time labels [N].
        width: length of the embedding.

    Returns:
        Embeddings [N,width].
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - 1))
    angles = t[:, None].float() * frequencies
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


def norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of four channels a group, with at most 32 groups."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class Mixing(nn.Module):
    """Linear map of the channels of each position, [N,C,H,W] → [N,outer,H,W]."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(inner, outer))
        self.b = nn.Parameter(torch.zeros(outer))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mapped channels."""
        return functional.conv2d(x, self.W.T[:, :, None, None], self.b)


class Residual(nn.Module):
    """Residual block of two 3×3 convolutions that preserves the variance, with the time embedding [N,E] added between.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        embedding: length E of the time embedding.
        resize: `up` doubles H and W, `down` halves them, after the first activation and in the shortcut.
    """

    def __init__(self, inner: int, outer: int, embedding: int, resize: str = ""):
        super().__init__()
        self.resize = resize
        self.GroupNorm_0 = norm(inner)
        self.Conv_0 = nn.Conv2d(inner, outer, 3, padding=1)
        self.Dense_0 = nn.Linear(embedding, outer)
        self.GroupNorm_1 = norm(outer)
        self.Conv_1 = nn.Conv2d(outer, outer, 3, padding=1)
        self.Conv_2: nn.Module = nn.Conv2d(inner, outer, 1) if inner != outer or resize else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the features of the block."""
        inside = self.Conv_0(self.sized(functional.silu(self.GroupNorm_0(x))))
        inside = inside + self.Dense_0(functional.silu(embedding))[:, :, None, None]
        inside = self.Conv_1(functional.silu(self.GroupNorm_1(inside)))
        out: Tensor = (self.Conv_2(self.sized(x)) + inside) / math.sqrt(2)
        return out

    def sized(self, x: Tensor) -> Tensor:
        """Resize the features as `resize` states."""
        if self.resize == "up":
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return functional.avg_pool2d(x, 2) if self.resize == "down" else x


class Attention(nn.Module):
    """Single-head self-attention between the positions of an image, rescaled like Residual; the shape is unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (Mixing(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of x and the attention's output, rescaled."""
        inside = self.GroupNorm_0(x)
        query, key, value = (each(inside).flatten(2) for each in (self.NIN_0, self.NIN_1, self.NIN_2))
        weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(x.shape[1]), -1)
        seen = (value @ weights.transpose(1, 2)).view_as(x)
        out: Tensor = (x + self.NIN_3(seen)) / math.sqrt(2)
        return out


class DDPMpp(nn.Module):
    """Noise-prediction network eps(x_t, t): noisy images [N,C,H,W], scaled to [-1,1], and timesteps → the noise.

    The timesteps [N] are in 0..999; the predicted noise has the shape of the images. The network was trained at times t
    in (0,1] that it receives as 999·t. Timestep i here is the time (i + 1)/1000 of the same noise, so the network
    receives 0.999·(i + 1). Some purifiers give it i instead (`continuous=False`).

    Args:
        channels: channels of the images.
        width: features of the first level.
        multiples: factor on the width at each level.
        blocks: residual blocks of a level.
        attended: whether each level has attention.
        continuous: whether timestep i is given to the network as 0.999·(i + 1), as it was trained; otherwise as i.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 128,
        multiples: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 4,
        attended: Sequence[bool] = (False, True, False, False),
        continuous: bool = True,
    ):
        super().__init__()
        self.continuous = continuous
        self.width, self.blocks, self.attended = width, blocks, tuple(attended)
        wide, embedding, levels = width, 4 * width, len(multiples)
        modules: list[nn.Module] = [nn.Linear(width, embedding), nn.Linear(embedding, embedding)]
        modules.append(nn.Conv2d(channels, width, 3, padding=1))
        kept = [width]
        for level, multiple in enumerate(multiples):
            for _ in range(blocks):
                modules.append(Residual(wide, width * multiple, embedding))
                wide = width * multiple
                modules += [Attention(wide)] if attended[level] else []
                kept.append(wide)
            if level < levels - 1:
                modules.append(Residual(wide, wide, embedding, "down"))
                kept.append(wide)
        modules += [Residual(wide, wide, embedding), Attention(wide), Residual(wide, wide, embedding)]
        for level, multiple in reversed(list(enumerate(multiples))):
            for _ in range(blocks + 1):
                modules.append(Residual(wide + kept.pop(), width * multiple, embedding))
                wide = width * multiple
            modules += [Attention(wide)] if attended[level] else []
            modules += [Residual(wide, wide, embedding, "up")] if level else []
        modules += [norm(wide), nn.Conv2d(wide, channels, 3, padding=1)]
        self.all_modules = nn.ModuleList(modules)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W].
        """
        modules = iter(self.all_modules)
        label = timestep_embedding(0.999 * (t + 1) if self.continuous else t, self.width).to(x.dtype)
        embedding = next(modules)(label)
        embedding = next(modules)(functional.silu(embedding))
        kept = [next(modules)(x)]
        for level, attends in enumerate(self.attended):
            for _ in range(self.blocks):
                x = next(modules)(kept[-1], embedding)
                kept.append(next(modules)(x) if attends else x)
            if level < len(self.attended) - 1:
                kept.append(next(modules)(kept[-1], embedding))
        x = next(modules)(kept[-1], embedding)
        x = next(modules)(x)
        x = next(modules)(x, embedding)
        for level, attends in reversed(list(enumerate(self.attended))):
            for _ in range(self.blocks + 1):
                x = next(modules)(torch.cat([x, kept.pop()], 1), embedding)
            x = next(modules)(x) if attends else x
            x = next(modules)(x, embedding) if level else x
        x = functional.silu(next(modules)(x))
        out: Tensor = next(modules)(x)
        return out
