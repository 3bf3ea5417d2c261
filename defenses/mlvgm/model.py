"""What every multiple-latent-variable generative model can do: autoencode with a mixer, which knows no alpha."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Mix = Callable[[int, Tensor, Tensor], Tensor]
"""mix(i, encoded, sampled): latent i as decoded, from the image's code and a sample of the prior, [N,…] each."""


class MLVGM(nn.Module, ABC):
    """A generative model with `latents` latent variables, numbered from coarse to fine."""

    latents: int

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Images [N,C,H,W] in [0,1] → images of the same shape and range, each latent passed through `mix`.

        The prior of a latent may depend on the mixed latents above it. `mix` returning `encoded` reconstructs,
        returning `sampled` generates.
        """
