"""What the official StyleGAN2 autoencoders share: images in, codes mixed, images out, the average of w."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.model import Mix
from purebench.defenses.mlvgm.stylegan.generator import Generator


def mixed(codes: Tensor, decoder: Generator, mix: Mix) -> Tensor:
    """Codes [N,L,D], each passed through `mix` together with a sample of w, [N,D].

    The sample of code i is mapping(z_i), z_i ~ N(0,I) for each image and code by itself, all L of them drawn before
    the first is mixed; no truncation. (A standard deviation of z would do nothing: the mapping normalises z first.)
    """
    count, latents, dim = codes.shape
    z = torch.randn(latents, count, dim, dtype=codes.dtype, device=codes.device)
    sampled = decoder.mapping(z.flatten(0, 1)).view(latents, count, dim)
    return torch.stack([mix(i, codes[:, i], sampled[i]) for i in range(latents)], dim=1)


def check_images(x: Tensor, name: str, side: int) -> None:
    """Raises PurebenchError unless x is [N,3,side,side]."""
    if x.ndim != 4 or tuple(x.shape[1:]) != (3, side, side):
        raise PurebenchError(f"{name}: expected images [N,3,{side},{side}], but got {list(x.shape)}; resize them.")


def channels_by_side(channels: Mapping[int, int] | Mapping[str, int] | None) -> dict[int, int] | None:
    """The generator's table of channels with whole numbers as keys: JSON has turned them into words."""
    return None if channels is None else {int(side): width for side, width in channels.items()}
