"""Where Defense-GAN may look for an image: the prior's z, or StyleGAN2's codes, each free of the others (w+)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN

STARTS = ("mean", "encoder")
MANY = 4096
"""Samples of z that the mean of w is taken over."""


class Space(nn.Module, ABC):
    """Vectors [N,D] that a generator draws images [N,C,H,W] of about [0,1] from."""

    random: bool = False
    """Whether the starts of a search are drawn."""

    @abstractmethod
    def starts(self, x: Tensor) -> Tensor:
        """Where the searches for images [N,C,H,W] in [0,1] begin, [N,R,D], R each."""

    @abstractmethod
    def forward(self, code: Tensor) -> Tensor:
        """The images of vectors."""

    def guess(self, x: Tensor) -> Tensor:
        """About what a search would find, without one: the image itself, unless the generator has an encoder."""
        return x


def normal_starts(x: Tensor, restarts: int, length: int, seed: int | None) -> Tensor:
    """Standard normal vectors [N,restarts,length]; with a seed every image has the same ones, whatever its batch."""
    if seed is None:
        return torch.randn(len(x), restarts, length, dtype=x.dtype, device=x.device)
    drawn = torch.randn(restarts, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(x).expand(len(x), -1, -1)


class StyleSpace(Space):
    """A space of a StyleGAN2 that has an encoder."""

    def __init__(self, model: SmallStyleGAN):
        super().__init__()
        self.model = model

    def guess(self, x: Tensor) -> Tensor:
        """The model's answer to the image's codes, clamped to [0,1]."""
        return self.model.decode(self.model.encode(x)).clamp(0, 1)


class PriorSpace(StyleSpace):
    """z ~ N(0,I), as in the paper: one vector, from which all codes of the StyleGAN2 follow.

    restarts: searches an image; seed: of their starts, None to draw them anew each time.
    """

    def __init__(self, model: SmallStyleGAN, *, restarts: int, seed: int | None):
        super().__init__(model)
        self.restarts, self.seed = restarts, seed
        self.random = seed is None

    def starts(self, x: Tensor) -> Tensor:
        """Draws of the prior."""
        return normal_starts(x, self.restarts, self.model.decoder.dim, self.seed)

    def forward(self, code: Tensor) -> Tensor:
        """See the class."""
        return self.model.decode(self.model.decoder.mapping(code)[:, None].expand(-1, self.model.latents, -1))


class CodeSpace(StyleSpace):
    """w+: the codes themselves, 2·log2(size) - 2 times as many numbers as z, which no prior holds together.

    start: `mean`, that of w over draws of z, or `encoder`, the image's codes by the model's encoder.
    Raises PurebenchError for another.
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
        """One start an image."""
        if self.start == "encoder":
            return self.model.encode(x).flatten(1)[:, None]
        return self.get_buffer("mean").expand(len(x), 1, -1)

    def forward(self, code: Tensor) -> Tensor:
        """See the class."""
        return self.model.decode(code.reshape(len(code), self.model.latents, -1))
