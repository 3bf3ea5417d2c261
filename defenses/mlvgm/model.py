"""The interface of multiple-latent-variable generative models: autoencoding with a mixer, independent of alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from purebench.core.defense import Mix as Mix


class MLVGM(nn.Module, ABC):
    """Generative model with several latent variables, numbered from coarse to fine.

    Attributes:
        latents: number of latent variables.
    """

    latents: int

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images, with each latent passed through `mix`.

        The prior of a latent may depend on the mixed latents above it. A `mix` that returns `encoded` reconstructs the
        image; one that returns `sampled` generates a new image.

        Args:
            x: images [N,C,H,W] in [0,1].
            mix: mix(i, encoded, sampled) returns latent i.

        Returns:
            Images of the same shape and range.
        """
