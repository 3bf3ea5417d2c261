"""Shared parts of the StyleGAN2 autoencoders: mixing of codes, checks of images, and the table of channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.model import Mix
from purebench.defenses.mlvgm.stylegan.generator import Generator


def mixed(codes: Tensor, decoder: Generator, mix: Mix) -> Tensor:
    """Pass each code through `mix` together with a sample of w.

    The sample of code i is mapping(z_i), with an independent z_i ~ N(0,I) for each image and code; all L of them are
    drawn before the first is mixed. There is no truncation. (A standard deviation of z would have no effect, because
    the mapping normalises z first.)

    Args:
        codes: codes [N,L,D].
        decoder: the generator, whose mapping is used.
        mix: mix(i, encoded, sampled) returns code i; both arguments are [N,D].

    Returns:
        The mixed codes [N,L,D].
    """
    count, latents, dim = codes.shape
    z = torch.randn(latents, count, dim, dtype=codes.dtype, device=codes.device)
    sampled = decoder.mapping(z.flatten(0, 1)).view(latents, count, dim)
    return torch.stack([mix(i, codes[:, i], sampled[i]) for i in range(latents)], dim=1)


def check_images(x: Tensor, name: str, side: int) -> None:
    """Check the shape of images.

    Args:
        x: the images.
        name: name of the model, for the error message.
        side: expected pixels a side.

    Raises:
        PurebenchError: If x is not [N,3,side,side].
    """
    if x.ndim != 4 or tuple(x.shape[1:]) != (3, side, side):
        raise PurebenchError(f"{name}: expected images [N,3,{side},{side}], but got {list(x.shape)}; resize them.")


def channels_by_side(channels: Mapping[int, int] | Mapping[str, int] | None) -> dict[int, int] | None:
    """Return the generator's table of channels with integer keys, because JSON turns keys into strings."""
    return None if channels is None else {int(side): width for side, width in channels.items()}
