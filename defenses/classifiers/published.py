"""Classifiers that papers on purification publish: two WideResNet-70-16 of CIFAR-10, and torchvision's of ImageNet.

Each classifier normalises its input itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses.checkpoints import load
from purebench.defenses.classifiers.layouts import LAYOUTS, classifier_network
from purebench.defenses.mlvgm.official import CONVERTED, find_official, read_official

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
WRN_70_16 = {"depth": 70, "width": 16}
UNSTATED = "not stated by its authors"
DROPOUT_FILE = "pretrained/cifar10/wrn-70-16-dropout/weights.pt"
DROPOUT_PUBLISHED = "https://drive.google.com/drive/folders/1istqcnPNXJ-TQFdxRqNJuInzOtlYOG1b"
DROPOUT_BYTES, DROPOUT_MD5 = 1_067_654_334, "md5 8b9579d9a1bdeb809aee2289993b00a8 (of a third party's copy)"
DM_FILE = "pretrained/cifar10/wresnet-76-10/weights-best.pt"
DM_PUBLISHED = "https://drive.google.com/drive/folders/1OeuFx2r26xeHncs8bGuqgY6ns_N77Avi"
DM_BYTES, DM_MD5 = 2_134_963_836, "md5 255712cf64b271ea6d63b564c7d4e396 (of a third party's copy)"


class Normalised(nn.Module):
    """Classifier of images in [0,1] to logits, which subtracts a mean and divides by a standard deviation first.

    Args:
        model: the classifier of normalised images.
        mean: mean of each channel.
        std: standard deviation of each channel.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,classes] of images [N,3,H,W] in [0,1]."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def load_normalised(
    path: Path, kind: str, mean: Sequence[float], std: Sequence[float], **architecture: Any
) -> Normalised:
    """Load a classifier strictly from its official file, or from the safetensors file that it was converted to.

    Args:
        path: the file.
        kind: kind of its layout.
        mean: mean of each channel.
        std: standard deviation of each channel.
        **architecture: arguments of the network.

    Returns:
        The classifier, in eval mode, without parameter gradients.

    Raises:
        PurebenchError: If the file cannot be read, or architecture, keys, shapes or values do not fit.
    """

    def build(**stated: Any) -> nn.Module:
        if stated != architecture:
            raise PurebenchError(f"{path}: expected a {kind} of {architecture}, but got {stated}; name another file.")
        return LAYOUTS[kind].build(**stated)

    if path.suffix == CONVERTED:
        return Normalised(load(str(path), kind, build), mean, std).eval()
    return Normalised(classifier_network(path, read_official(path), kind, architecture), mean, std).eval()


def wrn_70_16_dropout(*, weights: str | None = None) -> Normalised:
    """Load the WideResNet-70-16 that DiffPure, DiffusionClassifier and DiffHammer evaluate on CIFAR-10.

    It was trained with dropout, which is idle here.

    Args:
        weights: path of the file; None for pretrained/cifar10/wrn-70-16-dropout/weights.pt in the folder
            $PUREBENCH_MODELS.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
    """
    path = find_official(
        DROPOUT_FILE, DROPOUT_PUBLISHED, weights, size=DROPOUT_BYTES, digest=DROPOUT_MD5, licence=UNSTATED
    )
    return load_normalised(path, "wide-resnet", CIFAR10_MEAN, CIFAR10_STD, **WRN_70_16)


def dm_wrn_70_16(*, weights: str | None = None) -> Normalised:
    """Load the WideResNet-70-16 with Swish that FreqPure and CMAP evaluate on CIFAR-10.

    Args:
        weights: path of the file; None for pretrained/cifar10/wresnet-76-10/weights-best.pt (the authors' name) in the
            folder $PUREBENCH_MODELS.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
    """
    path = find_official(DM_FILE, DM_PUBLISHED, weights, size=DM_BYTES, digest=DM_MD5, licence=UNSTATED)
    return load_normalised(path, "dm-wide-resnet", CIFAR10_MEAN, CIFAR10_STD, **WRN_70_16)


def torchvision_classifier(
    *, name: str = "resnet50", version: str = "IMAGENET1K_V1", weights: str | None = None
) -> Normalised:
    """Load a classifier of torchvision from a local file: `torchvision:resnet50`.

    Images are expected as the weights were trained with them; for the ResNets of version IMAGENET1K_V1 the shorter side
    is resized to 256 pixels and the centre of 224 is cropped: image-folder(resize=256, center_crop=224). Nothing is
    downloaded.

    Args:
        name: a classifier of torchvision, such as `resnet50`.
        version: version of the weights, which decides the file and the normalisation. DiffPure and Lee & Kim evaluate
            IMAGENET1K_V1, FreqPure IMAGENET1K_V2.
        weights: path of the file; None for `torchvision/FILE` in the folder $PUREBENCH_MODELS, with torchvision's name.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
        PurebenchError: If the name or the version is unknown, or the file does not fit.
    """
    from torchvision import models

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        raise PurebenchError(f"torchvision: {name!r} is unknown; {did_you_mean(name, classifiers)}")
    versions = models.get_model_weights(name).__members__
    if version not in versions:
        raise PurebenchError(f"torchvision: {name} has no version {version!r}; {did_you_mean(version, versions)}")
    published = versions[version]
    file = published.url.rpartition("/")[2]
    digest = file.rpartition(".")[0].rpartition("-")[2]  # torch's names end in the first digits of the sha256
    path = find_official(
        f"torchvision/{file}",
        published.url,
        weights,
        digest=f"sha256 {digest} (first digits, from its name)",
        licence="BSD 3-clause (torchvision)",
        download=published.url,
    )
    shown = published.transforms()
    return load_normalised(path, "torchvision", shown.mean, shown.std, name=name)
