"""What every multiple-latent-variable generative model can do: autoencode with a mixer, which knows no alpha."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from purebench.core.defense import Mix as Mix


class MLVGM(nn.Module, ABC):
    """A generative model with `latents` latent variables, numbered from coarse to fine."""

    latents: int

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Images [N,C,H,W] in [0,1] → images of the same shape and range, each latent passed through `mix`.

        The prior of a latent may depend on the mixed latents above it. `mix` returning `encoded` reconstructs,
        returning `sampled` generates.
        """
