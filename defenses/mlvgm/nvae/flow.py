"""The optional normalising flow after a latent, in NVAE-from-scratch's layout.

It consists of volume-preserving autoregressive steps z - m(z) (Kingma et al. 2016, arXiv:1606.04934). The official
mask of the last 1×1 convolution is zero everywhere, so m is the bias of that convolution alone; this implementation
follows the masks of the file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedConv(nn.Module):
    """Convolution over the pixels before (`mirrored`: after) the current one in raster order.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        kernel: side of the kernel.
        groups: groups of the convolution.
        with_own: whether the current pixel is included.
        mirrored: whether the pixels after the current one are used instead of those before it.
    """

    mask: Tensor

    def __init__(self, inner: int, outer: int, kernel: int, *, groups: int = 1, with_own: bool, mirrored: bool):
        super().__init__()
        like = nn.Conv2d(inner, outer, kernel, groups=groups)
        assert like.bias is not None
        self.weight, self.bias, self.groups = like.weight, like.bias, groups
        seen = torch.arange(kernel * kernel) < kernel * kernel // 2 + with_own
        shape = (outer, inner // groups, kernel, kernel)
        self.register_buffer(
            "mask", (seen.flip(0) if mirrored else seen).float().view(kernel, kernel).repeat(*shape[:2], 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,inner,h,w] to [N,outer,h,w]."""
        side = self.weight.shape[-1]
        return functional.conv2d(x, self.weight * self.mask, self.bias, padding=side // 2, groups=self.groups)


class FlowCell(nn.Module):
    """One step of the flow, z - m(z)."""

    def __init__(self, z: int, mirrored: bool):
        super().__init__()
        hidden = 6 * z
        self.layers = nn.Sequential(
            MaskedConv(z, hidden, 3, with_own=True, mirrored=mirrored),
            nn.ELU(),
            MaskedConv(hidden, hidden, 5, groups=hidden, with_own=False, mirrored=mirrored),
            nn.ELU(),
            MaskedConv(hidden, z, 1, with_own=False, mirrored=mirrored),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map a latent [N,z,h,w] to one of the same shape."""
        out: Tensor = z - self.layers(z)
        return out


class Flow(nn.Module):
    """Two cells with opposite pixel orders."""

    def __init__(self, z: int):
        super().__init__()
        self.cell1 = FlowCell(z, mirrored=False)
        self.cell2 = FlowCell(z, mirrored=True)

    def forward(self, z: Tensor) -> Tensor:
        """Map a latent [N,z,h,w] to one of the same shape."""
        out: Tensor = self.cell2(self.cell1(z))
        return out
