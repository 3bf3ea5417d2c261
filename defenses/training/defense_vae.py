"""Recipe of the bundled Defense-VAE: attacked images in, clean ones out (Li & Ji 2019, arXiv:1812.06570, equation 5).

The attacks are made on the fly, through the undefended classifier: the purifier is not attacked in training. It begins
with the plain VAE's weights, and differs from it in what it has learned since.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.datasets import ImageSet, fashion_mnist
from purebench.defenses.checkpoints import load
from purebench.defenses.training.attacked import ATTACKS, attacked
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.vae.plain import VAE, VAEPurifier


def begun(model: nn.Module) -> nn.Module:
    """The model with the weights of fashion-vae."""
    model.load_state_dict(load("fashion-vae", "vae", VAE).state_dict())
    return model


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Negative ELBO of the clean image in nats a pixel, D/2·log MSE + KL, coded from the attacked one."""
    assert isinstance(model, VAE)
    mean, logvar = model.encode(attacked(images, labels))
    error = (model.decode(mean + (logvar / 2).exp() * torch.randn_like(mean)) - images).square().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
    objective = 0.5 * (error + 1e-4).log() + divergence / images[0].numel()
    return {"loss": objective, "mse": error.detach(), "kl": divergence.detach()}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """What the bundled classifier keeps through the autoencoder."""
    assert isinstance(model, VAE)
    purifiers = {"posterior mean": VAEPurifier(model), "posterior sample": VAEPurifier(model, sampled=True)}
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-defense-vae",
    kind="vae",
    build=VAE,
    architecture={"channels": 1, "width": 24, "z": 32},
    around=begun,
    loss=loss,
    quality=quality,
    about=f"Defense-VAE: attacked images ({', '.join(ATTACKS)}) mapped to the clean ones, from fashion-vae on.",
    source="after Li & Ji 2019, arXiv:1812.06570; trained for purebench",
    data=fashion_mnist,
    batch=64,
    rate=1e-3,
    minutes=12,
)
