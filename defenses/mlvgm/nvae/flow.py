"""The optional normalising flow behind a latent, in NVAE-from-scratch's layout.

Volume-preserving autoregressive steps z - m(z) (Kingma et al. 2016, arXiv:1606.04934). The official mask of the last
1×1 convolution is zero everywhere, so m is that convolution's bias alone; computed here as the file's masks say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedConv(nn.Module):
    """A convolution that sees the pixels before (mirrored: behind) its own in raster order; `with_own`: and its own."""

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
        """[N,inner,h,w] → [N,outer,h,w]."""
        side = self.weight.shape[-1]
        return functional.conv2d(x, self.weight * self.mask, self.bias, padding=side // 2, groups=self.groups)


class FlowCell(nn.Module):
    """z - m(z)."""

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
        """A latent [N,z,h,w] → the same shape."""
        out: Tensor = z - self.layers(z)
        return out


class Flow(nn.Module):
    """Two cells in opposite orders."""

    def __init__(self, z: int):
        super().__init__()
        self.cell1 = FlowCell(z, mirrored=False)
        self.cell2 = FlowCell(z, mirrored=True)

    def forward(self, z: Tensor) -> Tensor:
        """A latent [N,z,h,w] → the same shape."""
        out: Tensor = self.cell2(self.cell1(z))
        return out
