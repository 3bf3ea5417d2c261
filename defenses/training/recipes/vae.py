"""Recipe of the bundled plain VAE: the evidence lower bound with optimal variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.vae.plain import VAE, VAEPurifier, reparametrised


def bound(model: nn.Module, seen: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Return the negative ELBO in nats per pixel, D/2·log MSE + KL, and its parts.

    The variance is the optimal one (sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202).

    Args:
        model: the VAE.
        seen: images that the encoder receives, [N,C,H,W] in [0,1].
        wanted: images that the decoder should return, [N,C,H,W] in [0,1].
    """
    assert isinstance(model, VAE)
    mean, logvar = model.encode(seen)
    error = (model.decode(reparametrised(mean, logvar)) - wanted).square().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
    objective = 0.5 * (error + 1e-4).log() + divergence / wanted[0].numel()
    return {"loss": objective, "mse": error.detach(), "kl": divergence.detach()}


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO of the images."""
    return bound(model, images, images)


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind the autoencoder."""
    assert isinstance(model, VAE)
    purifiers = {"posterior mean": VAEPurifier(model), "posterior sample": VAEPurifier(model, sampled=True)}
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-vae",
    kind="vae",
    build=VAE,
    architecture={"channels": 1, "width": 24, "z": 32},
    loss=loss,
    quality=quality,
    about="The plain VAE baseline: one latent vector.",
    source="after Kingma & Welling 2014, arXiv:1312.6114; trained for purebench",
    data=fashion_mnist,
    rate=2e-3,
    minutes=8,
)
