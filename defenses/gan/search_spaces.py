"""Search spaces of Defense-GAN: the prior's z, or StyleGAN2's codes, each independent of the others (w+)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN

STARTS = ("mean", "encoder")
MANY = 4096
"""Number of samples of z for the mean of w."""


class ImageSpace(nn.Module, ABC):
    """Space of vectors [N,D] from which a generator creates images [N,C,H,W], about in [0,1]."""

    random: bool = False
    """True if the starts of a search are random."""

    @abstractmethod
    def starts(self, x: Tensor) -> Tensor:
        """Return the starts of the searches for images [N,C,H,W] in [0,1], [N,R,D] with R starts each."""

    @abstractmethod
    def forward(self, code: Tensor) -> Tensor:
        """Return the images of vectors."""

    def guess(self, x: Tensor) -> Tensor:
        """Return an approximate result without a search: the image itself, unless the generator has an encoder."""
        return x


def normal_starts(x: Tensor, restarts: int, length: int, seed: int | None) -> Tensor:
    """Return standard normal vectors for each image.

    Args:
        x: images [N,C,H,W].
        restarts: number of vectors for each image.
        length: length of a vector.
        seed: with a seed every image has the same vectors, whatever its batch; None to draw them anew.

    Returns:
        Vectors [N,restarts,length].
    """
    if seed is None:
        return torch.randn(len(x), restarts, length, dtype=x.dtype, device=x.device)
    drawn = torch.randn(restarts, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(x).expand(len(x), -1, -1)


class StyleSpace(ImageSpace):
    """Space of a StyleGAN2 that has an encoder."""

    def __init__(self, model: SmallStyleGAN):
        super().__init__()
        self.model = model

    def guess(self, x: Tensor) -> Tensor:
        """Return the model's reconstruction of the image, clamped to [0,1]."""
        return self.model.decode(self.model.encode(x)).clamp(0, 1)


class PriorSpace(StyleSpace):
    """The space of z ~ N(0,I), as in the paper: one vector determines all codes of the StyleGAN2.

    Args:
        model: the StyleGAN2.
        restarts: number of searches for each image.
        seed: seed of their starts, None to draw them anew each time.
    """

    def __init__(self, model: SmallStyleGAN, *, restarts: int, seed: int | None):
        super().__init__(model)
        self.restarts, self.seed = restarts, seed
        self.random = seed is None

    def starts(self, x: Tensor) -> Tensor:
        """Return draws of the prior."""
        return normal_starts(x, self.restarts, self.model.decoder.dim, self.seed)

    def forward(self, code: Tensor) -> Tensor:
        """Return the images of z [N,D]."""
        return self.model.decode(self.model.decoder.mapping(code)[:, None].expand(-1, self.model.latents, -1))


class CodeSpace(StyleSpace):
    """The space w+ of the codes themselves, with 2·log2(size) - 2 times as many numbers as z and no joint prior.

    Args:
        model: the StyleGAN2.
        start: `mean`, the mean of w over draws of z, or `encoder`, the image's codes by the model's encoder.

    Raises:
        PurebenchError: If the start is unknown.
    """

    def __init__(self, model: SmallStyleGAN, *, start: str):
        super().__init__(model)
        if start not in STARTS:
            raise PurebenchError(f"defense-gan: expected start {' or '.join(STARTS)}, but got {start!r}.")
        self.start = start
        with torch.no_grad():
            many = torch.randn(MANY, model.decoder.dim, generator=torch.Generator().manual_seed(0))
            mean = model.decoder.mapping(many).mean(0)
        self.register_buffer("mean", mean.repeat(model.latents), persistent=False)

    def starts(self, x: Tensor) -> Tensor:
        """Return one start for each image."""
        if self.start == "encoder":
            return self.model.encode(x).flatten(1)[:, None]
        return self.get_buffer("mean").expand(len(x), 1, -1)

    def forward(self, code: Tensor) -> Tensor:
        """Return the images of codes [N,L·D]."""
        return self.model.decode(code.reshape(len(code), self.model.latents, -1))
