"""A noise-prediction U-Net for small images: diffusers' UNet2DModel behind a pixel-unshuffle, which makes it cheap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FoldedUNet(nn.Module):
    """eps(x_t, t): images [N,C,H,W] in [-1,1] plus noise, timesteps [N] in 0..999 → predicted noise, same shape.

    fold: side of the pixel blocks that become channels; widths, layers, groups: as UNet2DModel's block_out_channels,
    layers_per_block and norm_num_groups
    (Ho et al. 2020, arXiv:2006.11239).
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 32,
        fold: int = 2,
        widths: Sequence[int] = (32, 64),
        layers: int = 1,
        groups: int = 8,
    ):
        super().__init__()
        from diffusers import UNet2DModel

        self.fold = fold
        self.unet: nn.Module = UNet2DModel(  # type: ignore[no-untyped-call,assignment]
            sample_size=size // fold,
            in_channels=fold**2 * channels,
            out_channels=fold**2 * channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            norm_num_groups=groups,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            add_attention=False,
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predicted noise."""
        folded = functional.pixel_unshuffle(x, self.fold)
        return functional.pixel_shuffle(self.unet(folded, t).sample, self.fold)


def noise_levels(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Cumulative products alpha-bar_t of the linear schedule of DDPM, float32 [steps]."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0).float()
