"""The interface of multiple-latent-variable generative models: autoencoding with a mixer, independent of alphas."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from purebench.core.defense import NO_VARIANCES
from purebench.core.defense import Mix as Mix
from purebench.core.errors import Inapplicable


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

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance, [N,…] each, of the posterior of each latent, given the means of those above it.

        Args:
            x: images [N,C,H,W] in [0,1].

        Raises:
            Inapplicable: The encoder gives codes without variances, which is the default.
        """
        raise Inapplicable(NO_VARIANCES)
