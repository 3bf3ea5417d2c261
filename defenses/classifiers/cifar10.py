"""Small classifiers of CIFAR-10: residual networks with a deep stem.

The blocks are those of He et al. 2016 (arXiv:1512.03385); the stem, after ResNet-C (He et al. 2019,
arXiv:1812.01187, section 4.2), has two convolutions, of which the last halves the image.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.defenses.checkpoints import load
from purebench.defenses.classifiers.resnet import Block


class DeepStemResNet(nn.Module):
    """Classifier of images [N,channels,H,W] in [0,1] to logits [N,classes]; it normalises its input itself.

    Args:
        channels: channels of the images.
        classes: number of classes.
        width: channels of the first of three stages; they double at each stage.
        depth: residual blocks of a stage.
        mean: mean of the pixel values, subtracted from the input.
        std: standard deviation of the pixel values, by which the input is divided.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 10,
        width: int = 64,
        depth: int = 2,
        mean: float = 0.47,
        std: float = 0.25,
    ):
        super().__init__()
        self.mean, self.std = mean, std
        self.stem = nn.Sequential(*_convolution(channels, width // 2, 1), *_convolution(width // 2, width, 2))
        widths = [width] + [width * 2**stage for stage in range(3) for _ in range(depth)]
        self.blocks = nn.Sequential(*(Block(inner, outer, outer // inner) for inner, outer in pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,classes]."""
        features = self.blocks(self.stem((x - self.mean) / self.std))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _convolution(inner: int, outer: int, stride: int) -> list[nn.Module]:
    """Return a 3×3 convolution with batch norm and ReLU."""
    return [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]


def cifar10_resnet(*, weights: str = "cifar10-resnet") -> DeepStemResNet:
    """Return the undefended classifier: a ResNet trained on the JPEG copy of CIFAR-10."""
    return load(weights, "deep-stem-resnet", DeepStemResNet)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="Wong et al. 2020, arXiv:2001.03994",
)
def cifar10_fast_at(*, weights: str = "cifar10-fast-at") -> DeepStemResNet:
    """Return a ResNet trained with fast adversarial training on the JPEG copy, linf eps 8/255 (Wong et al. 2020)."""
    return load(weights, "deep-stem-resnet", DeepStemResNet)
