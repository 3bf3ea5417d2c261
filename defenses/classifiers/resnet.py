"""A small residual network for 32×32 images (He et al. 2016, arXiv:1512.03385, section 4.2).

It is bundled with three sets of weights: undefended, adversarially trained with TRADES (Zhang et al. 2019,
arXiv:1901.08573), and with PGD adversarial training (Madry et al. 2018, arXiv:1706.06083).
"""

from __future__ import annotations

from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.defenses.checkpoints import load


class Block(nn.Module):
    """Residual block of two 3×3 convolutions with batch norm; [N,inner,H,W] → [N,outer,H/stride,W/stride].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        stride: stride of the first convolution.
    """

    def __init__(self, inner: int, outer: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        same = stride == 1 and inner == outer
        self.shortcut = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the block."""
        inside = self.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.relu(self.norm2(self.conv2(inside)) + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """Classifier of images [N,channels,32,32] in [0,1] to logits [N,classes]; it normalises its input itself.

    Args:
        channels: channels of the images.
        classes: number of classes.
        width: channels of the first of three stages; they double at each stage.
        depth: residual blocks of a stage.
        stride: stride of the first convolution.
        mean: mean of the pixel values, subtracted from the input.
        std: standard deviation of the pixel values, by which the input is divided.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        classes: int = 10,
        width: int = 16,
        depth: int = 2,
        stride: int = 1,
        mean: float = 0.22,
        std: float = 0.32,
    ):
        super().__init__()
        self.mean, self.std = mean, std
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width, 2 * width, 4 * width]
        blocks: list[nn.Module] = []
        for stage, wide in enumerate(widths):
            for number in range(depth):
                before = wide if number else widths[max(stage - 1, 0)]
                blocks.append(Block(before, wide, 2 if stage and not number else 1))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,classes]."""
        features = self.blocks(self.stem((x - self.mean) / self.std))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def fashion_resnet(*, weights: str = "fashion-resnet") -> ResNet:
    """Return the undefended classifier of the built-in boards: a ResNet trained on Fashion-MNIST."""
    return load(weights, "resnet", ResNet)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="Zhang et al. 2019, arXiv:1901.08573",
)
def trades(*, weights: str = "fashion-trades") -> ResNet:
    """Return a classifier trained with TRADES, linf eps 16/255 (Zhang et al. 2019)."""
    return load(weights, "resnet", ResNet)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="Madry et al. 2018, arXiv:1706.06083",
)
def pgd_at(*, weights: str = "fashion-pgd-at") -> ResNet:
    """Return a classifier trained with PGD adversarial training, linf eps 16/255 (Madry et al. 2018)."""
    return load(weights, "resnet", ResNet)
