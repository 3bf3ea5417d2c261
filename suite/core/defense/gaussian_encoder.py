"""Defines purifiers whose encoder gives Gaussian distributions of latents."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from purebench.core.defense.purifier import Purifier


class GaussianEncoder(Purifier):
    """A purifier that encodes images to diagonal Gaussians, the posteriors of its latents, and decodes from them.

    An attacker who knows the purifier reads the posteriors and the kept share of each latent.
    """

    @property
    @abstractmethod
    def kept(self) -> list[float]:
        """Share of each latent that purification keeps of the image's own, in [0,1], coarse to fine."""

    @abstractmethod
    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance, [N,…] each, of the posterior of each latent, coarse to fine.

        Where a posterior depends on the latents above it, these are the means of their own posteriors. Differentiable
        and deterministic.

        Args:
            x: images [N,C,H,W] in [0,1].
        """
