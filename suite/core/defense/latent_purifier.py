"""Defines purifiers that mix the latents of a generative model, and the mixing by given alphas."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from purebench.core.defense.gaussian_encoder import GaussianEncoder
from purebench.core.errors import Inapplicable, PurebenchError

Mix = Callable[[int, Tensor, Tensor], Tensor]
"""mix(i, encoded, sampled): returns latent i for decoding, from the image's code and a sample of the prior, [N,…]
each."""

NO_VARIANCES = "the encoder of the purifier gives codes without variances, so posteriors have no divergence"


class LatentPurifier(GaussianEncoder):
    """A purifier that mixes the latents of a generative model: it keeps a part of each latent and samples the rest.

    An attacker who knows the purifier reads the codes and the kept share of each latent. Tools for its inspection apply
    other mixtures.
    """

    @property
    @abstractmethod
    def kept(self) -> list[float]:
        """Share of each latent that purification keeps, in [0,1], coarse to fine: 1 - alpha_i."""

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the posteriors' means and variances, if the encoder has variances (see `GaussianEncoder`).

        Raises:
            Inapplicable: The encoder gives codes without variances, which is the default.
        """
        raise Inapplicable(NO_VARIANCES)

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Encode images, pass each latent through `mix`, and decode.

        Differentiable. Deterministic processing of images before encoding is part of it; random processing is not.

        Args:
            x: images [N,C,H,W] in [0,1].
            mix: called once for each latent, coarse to fine. If it always returns `encoded`, the image is
                reconstructed.

        Returns:
            Images of the same shape and range.
        """

    def codes(self, x: Tensor) -> list[Tensor]:
        """Return the latents [N,…] from which the reconstruction of images is decoded, coarse to fine.

        Differentiable and deterministic.

        Args:
            x: images [N,C,H,W] in [0,1].
        """
        found: list[Tensor] = []

        def keep(_: int, encoded: Tensor, sampled: Tensor) -> Tensor:
            found.append(encoded)
            return encoded

        self.autoencode(x, keep)
        return found

    def with_alphas(self, alphas: Sequence[float]) -> LatentPurifier:
        """Return a purifier with the same model and other alphas.

        The processing before encoding stays the same. A purifier that does something random there overrides this
        method.

        Args:
            alphas: the share of each latent that is resampled, in [0,1], coarse to fine.

        Raises:
            PurebenchError: the number of alphas is wrong, or a value is not in [0,1].
        """
        return Remixed(self, alphas)


class Remixed(LatentPurifier):
    """A latent purifier that applies its own alphas to another: z_i = (1 - alpha_i)·encoded_i + alpha_i·sampled_i."""

    def __init__(self, purifier: LatentPurifier, alphas: Sequence[float]):
        super().__init__()
        latents = len(purifier.kept)
        if len(alphas) != latents or not all(0 <= alpha <= 1 for alpha in alphas):
            raise PurebenchError(
                f"alphas: expected {latents} numbers in [0,1], one per latent, but got {list(alphas)}."
            )
        self.purifier, self.alphas = purifier, [float(alpha) for alpha in alphas]
        self.random = any(alpha > 0 for alpha in self.alphas)

    @property
    def kept(self) -> list[float]:
        """1 - alpha_i of every latent, coarse to fine."""
        return [1 - alpha for alpha in self.alphas]

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Call the wrapped purifier's `autoencode`."""
        return self.purifier.autoencode(x, mix)

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Call the wrapped purifier's `posteriors`."""
        return self.purifier.posteriors(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images."""
        return self.autoencode(x, lambda i, code, sample: (1 - self.alphas[i]) * code + self.alphas[i] * sample)

    def surrogate(self, x: Tensor) -> Tensor:
        """Call the wrapped purifier's `surrogate`."""
        return self.purifier.surrogate(x)
