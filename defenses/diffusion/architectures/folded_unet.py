"""A noise-prediction U-Net for small images: diffusers' UNet2DModel behind a pixel-unshuffle that reduces its cost."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class FoldedUNet(nn.Module):
    """Noise-prediction network eps(x_t, t): noisy images [N,C,H,W], scaled to [-1,1], and timesteps → the noise.

    The timesteps [N] are in 0..999; the predicted noise has the shape of the images (Ho et al. 2020, arXiv:2006.11239).

    Args:
        channels: channels of the images.
        size: pixels a side.
        fold: side of the pixel blocks that become channels.
        widths: UNet2DModel's block_out_channels.
        layers: UNet2DModel's layers_per_block.
        groups: UNet2DModel's norm_num_groups.
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
        """Predict the noise.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W].
        """
        folded = functional.pixel_unshuffle(x, self.fold)
        return functional.pixel_shuffle(self.unet(folded, t).sample, self.fold)
