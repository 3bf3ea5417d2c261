"""IR-SE-50 as a feature pyramid: the body of both official StyleGAN2 encoders, with the keys of their files.

It consists of improved residual units of ArcFace (Deng et al. 2019, arXiv:1801.07698) with squeeze-and-excitation (Hu
et al. 2018, arXiv:1709.01507), and top-down lateral connections like those of feature pyramids (Lin et al. 2017,
arXiv:1612.03144), as in the encoders pSp, e4e and Style-Transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor, nn
from torch.nn import functional

from purebench.core.errors import PurebenchError

WIDTHS, DEPTHS, REDUCTION = (64, 128, 256, 512), (3, 4, 14, 3), 16
"""The official body: 24 units in four stages, the first unit of each with stride 2."""


class SqueezeExcitation(nn.Module):
    """Channels scaled by sigmoid(fc2(relu(fc1(mean over pixels)))); the shape [N,C,h,w] is unchanged."""

    def __init__(self, width: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(width // reduction, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x times a scale in (0,1) for each channel."""
        mean = x.mean((2, 3), keepdim=True)
        scale: Tensor = self.fc2(functional.relu(self.fc1(mean))).sigmoid()
        return x * scale


class Unit(nn.Module):
    """One IR-SE unit, [N,inner,h,w] → [N,outer,h/stride,w/stride].

    The stride belongs to the second convolution. The shortcut is every stride-th pixel where the width does not change,
    else a 1×1 convolution with batch norm.

    Args:
        inner: channels of the input.
        outer: channels of the output.
        stride: stride of the second convolution.
        reduction: reduction of squeeze-and-excitation.
    """

    def __init__(self, inner: int, outer: int, stride: int, reduction: int):
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inner),
            nn.Conv2d(inner, outer, 3, padding=1, bias=False),
            nn.PReLU(outer),
            nn.Conv2d(outer, outer, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            SqueezeExcitation(outer, reduction),
        )
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inner != outer:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut plus the residual; no activation follows."""
        found: Tensor = self.shortcut_layer(x) + self.res_layer(x)
        return found


class Pyramid(nn.Module):
    """Input layer, body and lateral connections; the encoders add the layers from features to codes.

    Args:
        widths: channels of the four stages.
        depths: units of the four stages.
        reduction: reduction of squeeze-and-excitation.
        colours: channels of the images.

    Raises:
        PurebenchError: Unless there are four stages of at least one unit, with widths divisible by the reduction.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        reduction: int = REDUCTION,
        colours: int = 3,
    ):
        super().__init__()
        if len(widths) != 4 or len(depths) != 4 or min(depths) < 1 or any(width % reduction for width in widths):
            raise PurebenchError(
                f"irse: expected four widths divided by the reduction and four depths of at least 1, "
                f"but got widths={list(widths)}, depths={list(depths)}, reduction={reduction}; name the file's own."
            )
        self.input_layer = nn.Sequential(
            nn.Conv2d(colours, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        )
        units, inner = [], widths[0]
        for outer, depth in zip(widths, depths, strict=True):
            units += [Unit(inner if n == 0 else outer, outer, 2 if n == 0 else 1, reduction) for n in range(depth)]
            inner = outer
        self.body = nn.Sequential(*units)
        self.taps = tuple(accumulate(depths))[1:]
        self.latlayer1 = nn.Conv2d(widths[2], widths[3], 1)
        self.latlayer2 = nn.Conv2d(widths[1], widths[3], 1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute features at three resolutions.

        The official features are the outputs of units 6, 20 and 23, the last ones of their stages.

        Args:
            x: images [N,colours,H,W] in [-1,1].

        Returns:
            Coarse, medium and fine features, with sides H/16, H/8 and H/4.
        """
        x, found = self.input_layer(x), []
        for number, unit in enumerate(self.body, start=1):
            x = unit(x)
            if number in self.taps:
                found.append(x)
        fine, medium, coarse = found
        medium = above(coarse, self.latlayer1(medium))
        return coarse, medium, above(medium, self.latlayer2(fine))


def above(coarse: Tensor, lateral: Tensor) -> Tensor:
    """Return the lateral features plus the coarser ones, resized bilinearly with aligned corners."""
    return functional.interpolate(coarse, size=lateral.shape[2:], mode="bilinear", align_corners=True) + lateral
