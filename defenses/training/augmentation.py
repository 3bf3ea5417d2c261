"""Augmentation of training images: mirroring, shifts of a batch, and a random crop of each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, shift: int) -> Tensor:
    """Mirror half of the images, and shift all of them by up to `shift` pixels.

    The border of the images is black, so rolling is the same as shifting.
    """
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored.to(images.device), images.flip(-1), images)
    if shift:
        down, right = (int(value) for value in torch.randint(-shift, shift + 1, (2,)))
        images = images.roll((down, right), dims=(-2, -1))
    return images


def cropped(images: Tensor, pad: int) -> Tensor:
    """Pad images by reflection and crop each at its own random place.

    Args:
        images: images [N,C,H,W].
        pad: pixels on each side.

    Returns:
        Images [N,C,H,W], with channels last in memory.
    """
    count, _, height, width = images.shape
    down, right = (torch.randint(0, 2 * pad + 1, (count, 1)).to(images.device) for _ in range(2))
    rows = (down + torch.arange(height, device=images.device))[:, :, None]
    columns = (right + torch.arange(width, device=images.device))[:, None, :]
    padded = functional.pad(images, (pad,) * 4, mode="reflect").permute(0, 2, 3, 1)
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded[each, rows, columns].permute(0, 3, 1, 2)
