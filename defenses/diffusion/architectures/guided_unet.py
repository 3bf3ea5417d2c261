"""The U-Net of OpenAI's guided-diffusion, with the keys of its checkpoints (Dhariwal & Nichol 2021, arXiv:2105.05233).

The keys are time_embed, input_blocks, middle_block, output_blocks and out. The whole architecture except for the
attention heads can be inferred from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Embed a timestep by cosines, then sines, at frequencies from 1 down to nearly 1/10,000.

    Args:
        t: timesteps [N].
        width: length of the embedding.

    Returns:
        Embeddings [N,width].
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return functional.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, width % 2))


class Residual(nn.Module):
    """Residual block of two 3×3 convolutions with a time embedding [N,E]; [N,inner,H,W] → [N,outer,H',W'].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        embedding: length E of the time embedding.
        modulated: whether the embedding scales and shifts the output of the second norm; otherwise it is added to the
            features before that norm.
        resize: `up` doubles H and W, `down` halves them, after the first activation and in the shortcut.
        groups: groups of the norms.
    """

    def __init__(self, inner: int, outer: int, embedding: int, *, modulated: bool, resize: str = "", groups: int = 32):
        super().__init__()
        self.modulated, self.resize = modulated, resize
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outer if modulated else outer))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, outer), nn.SiLU(), nn.Identity(), nn.Conv2d(outer, outer, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the features of the block."""
        norm, activate, convolve = self.in_layers
        inside = convolve(self.sized(activate(norm(x))))
        time = self.emb_layers(embedding)[:, :, None, None]
        if self.modulated:
            scale, shift = time.chunk(2, 1)
            inside = self.out_layers[1:](self.out_layers[0](inside) * (1 + scale) + shift)
        else:
            inside = self.out_layers(inside + time)
        out: Tensor = self.skip_connection(self.sized(x)) + inside
        return out

    def sized(self, x: Tensor) -> Tensor:
        """Resize the features as `resize` states."""
        if self.resize == "up":
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return functional.avg_pool2d(x, 2) if self.resize == "down" else x


class Attention(nn.Module):
    """Self-attention between the positions of an image; the shape [N,C,H,W] is unchanged.

    Args:
        channels: channels of the features.
        heads: number of heads.
        split_first: whether queries, keys and values are thirds of the channels, each split into heads (the authors'
            `use_new_attention_order`); otherwise the channels are split into heads first, and each head into its three.
        groups: groups of the norm.
    """

    def __init__(self, channels: int, heads: int, *, split_first: bool = False, groups: int = 32):
        super().__init__()
        self.heads, self.split_first = heads, split_first
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of x and the attention's output.

        It uses plain matrix products and a softmax, so that second derivatives exist.
        """
        count, channels = x.shape[:2]
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat))
        width = channels // self.heads
        if self.split_first:
            parts = qkv.view(count, 3, self.heads, width, -1).unbind(1)
        else:
            parts = qkv.view(count, self.heads, 3, width, -1).unbind(2)
        query, key, value = parts
        weights = torch.softmax(query.transpose(2, 3) @ key / math.sqrt(width), -1)
        seen = (value @ weights.transpose(2, 3)).reshape(count, channels, -1)
        out: Tensor = flat + self.proj_out(seen)
        return out.view_as(x)


class Down(nn.Module):
    """Strided convolution that halves H and W."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,C,H/2,W/2]."""
        out: Tensor = self.op(x)
        return out


class Up(nn.Module):
    """Upsampling that doubles H and W, followed by a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N,C,2H,2W]."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Blocks(nn.ModuleList):
    """Sequence of layers; the residual ones receive the time embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the features of the last layer."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, Residual) else layer(x)
        return x


class GuidedUNet(nn.Module):
    """Noise-prediction network eps(x_t, t): noisy images [N,C,H,W], scaled to [-1,1], and timesteps → the noise.

    The timesteps [N] are in 0..999; the predicted noise has the shape of the images.

    Args:
        channels: channels of the images.
        outputs: channels of the output, twice as many where the variance was learned too (that half is not used).
        width: features of the first level.
        multiples: factor on the width at each level.
        blocks: residual blocks of a level.
        attended: whether each level has attention.
        head_width: channels of an attention head.
        heads: number of attention heads, instead of head_width.
        modulated: see Residual.
        split_first: see Attention.
        residual_resize: whether levels are joined by residual blocks; otherwise by convolutions.
        groups: groups of the norms.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        outputs: int = 6,
        width: int = 256,
        multiples: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attended: Sequence[bool] = (False, False, False, True, True, True),
        head_width: int = 64,
        heads: int | None = None,
        modulated: bool = True,
        split_first: bool = False,
        residual_resize: bool = True,
        groups: int = 32,
    ):
        super().__init__()
        self.channels, self.width, embedding = channels, width, 4 * width
        self.learned_variance = outputs == 2 * channels

        def residual(inner: int, outer: int, resize: str = "") -> Residual:
            return Residual(inner, outer, embedding, modulated=modulated, resize=resize, groups=groups)

        def attention(inner: int) -> Attention:
            return Attention(inner, heads or inner // head_width, split_first=split_first, groups=groups)

        self.time_embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        wide, levels = width * multiples[0], len(multiples)
        down, kept = [Blocks([nn.Conv2d(channels, wide, 3, padding=1)])], [wide]
        for level, multiple in enumerate(multiples):
            for _ in range(blocks):
                down.append(Blocks([residual(wide, width * multiple)]))
                wide = width * multiple
                if attended[level]:
                    down[-1].append(attention(wide))
                kept.append(wide)
            if level < levels - 1:
                down.append(Blocks([residual(wide, wide, "down") if residual_resize else Down(wide)]))
                kept.append(wide)
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = Blocks([residual(wide, wide), attention(wide), residual(wide, wide)])
        up = []
        for level, multiple in reversed(list(enumerate(multiples))):
            for number in range(blocks + 1):
                up.append(Blocks([residual(wide + kept.pop(), width * multiple)]))
                wide = width * multiple
                if attended[level]:
                    up[-1].append(attention(wide))
                if level and number == blocks:
                    up[-1].append(residual(wide, wide, "up") if residual_resize else Up(wide))
        self.output_blocks = nn.ModuleList(up)
        self.out = nn.Sequential(nn.GroupNorm(groups, wide), nn.SiLU(), nn.Conv2d(wide, outputs, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W].
        """
        return self.outputs(x, t)[:, : self.channels]

    def both(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the noise and the variance of a step.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W], and the place of the variance's logarithm between those of the posterior
            variance (0) and of beta (1), [N,C,H,W] (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15).
        """
        noise, variance = self.outputs(x, t).chunk(2, 1)
        return noise, (variance + 1) / 2

    def outputs(self, x: Tensor, t: Tensor) -> Tensor:
        """Return all outputs of the network, [N,outputs,H,W]."""
        embedding = self.time_embed(timestep_embedding(t, self.width).to(x.dtype))
        kept = []
        for block in self.input_blocks:
            x = block(x, embedding)
            kept.append(x)
        x = self.middle_block(x, embedding)
        for block in self.output_blocks:
            x = block(torch.cat([x, kept.pop()], 1), embedding)
        out: Tensor = self.out(x)
        return out
