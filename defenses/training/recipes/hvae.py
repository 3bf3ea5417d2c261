"""Recipe of the bundled hierarchical VAE: evidence lower bound, optimal variance, warm-up of the divergence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.mlvgm.hvae import HVAE
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import mlvgm_purifiers, purified_accuracies

FREE_NATS = 4.0
"""Mean divergence up to which a group adds no loss; else the coarsest groups remain unused (Kingma et al. 2016)."""
FINEST = 1e-3
"""Variance below which detail is not encoded: a standard deviation of 8/255."""


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO in nats per pixel, D/2·log MSE + KL (Rybkin et al. 2021), with the constants above.

    The weight of the KL rises over the first 20 % of the run.
    """
    assert isinstance(model, HVAE)
    _, error, divergences = model.evidence(images)
    by_group = torch.stack(divergences).mean(1)
    charged = by_group.clamp_min(FREE_NATS).sum()
    pixels = images[0].numel()
    weight = min(1.0, 0.05 + share / 0.2)
    objective = 0.5 * (error + FINEST).log() + weight * charged / pixels
    active = (by_group > 0.1).sum()
    return {"loss": objective, "mse": error.detach(), "kl": by_group.sum().detach(), "active": active}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind reconstruction and purification, one draw each."""
    assert isinstance(model, HVAE)
    return purified_accuracies(mlvgm_purifiers(model), test, device)


recipe = Recipe(
    name="fashion-hvae",
    kind="hvae",
    build=HVAE,
    architecture={"channels": 1, "size": 32, "widths": [96, 64, 32], "groups": [2, 3, 3], "z": 8},
    loss=loss,
    quality=quality,
    about="The bundled MLVGM: a hierarchical VAE with 8 latent groups at 4×4, 8×8 and 16×16.",
    source="after NVAE (arXiv:2007.03898) and VDVAE (arXiv:2011.10650); trained for purebench",
    data=fashion_mnist,
    batch=32,
    rate=1.5e-3,
    decay=1e-3,
    minutes=30,
)
