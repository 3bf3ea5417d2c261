"""Shared parts of the StyleGAN2 autoencoders: the base of the official ones, mixing of codes, the table of channels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.stylegan.generator import Generator


class OfficialAutoencoder(MLVGM):
    """Autoencoder of images [N,3,image,image] with an official StyleGAN2 and 2·log2(size) - 2 codes.

    A subclass adds its `encoder` and the sizes of it to `architecture`. The buffer `latent_avg` [codes,D] is added to
    the codes of the encoder. It is zero where the training did not start from the average.

    Args:
        size: pixels a side of the generator's images.
        image: pixels a side of the images.
        dim: length of a code D.
        mappings: layers of the generator from z to w.
        channels: features of the generator at each side.

    Attributes:
        name: name of the model, for error messages.
        architecture: the arguments that build the model.
    """

    name: ClassVar[str]
    latent_avg: Tensor

    def __init__(
        self,
        *,
        size: int,
        image: int,
        dim: int,
        mappings: int,
        channels: Mapping[int, int] | Mapping[str, int] | None,
    ):
        super().__init__()
        table = channels_by_side(channels)
        self.architecture: dict[str, Any] = {"size": size, "image": image, "mappings": mappings, "channels": table}
        self.image = image
        self.decoder = Generator(size=size, style_dim=dim, mappings=mappings, channels=table)
        self.latents = self.decoder.codes
        self.register_buffer("latent_avg", torch.zeros(self.latents, dim))

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return codes [N,L,D] of images in [0,1]."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Return images [N,3,image,image] of codes [N,L,D], about in [0,1] but not clamped."""

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images (see MLVGM); all codes are known before the first is mixed.

        The result may exceed [0,1] slightly; the purifier clamps it.

        Raises:
            PurebenchError: If the images have another size.
        """
        side = self.image
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, side, side):
            raise PurebenchError(
                f"{self.name}: expected images [N,3,{side},{side}], but got {list(x.shape)}; resize them."
            )
        return self.decode(mixed(self.encode(x), self.decoder, mix))


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


def channels_by_side(channels: Mapping[int, int] | Mapping[str, int] | None) -> dict[int, int] | None:
    """Return the generator's table of channels with integer keys, because JSON turns keys into strings."""
    return None if channels is None else {int(side): width for side, width in channels.items()}
