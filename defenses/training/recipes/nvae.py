"""Recipe of the bundled NVAE: evidence lower bound at 8 bits, divergences balanced during warm-up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import mlvgm_purifiers, purified_accuracies

WARM_UP = 0.3
"""Share of the run over which the weight of the divergence rises from LEAST to 1 (NVAE, appendix A)."""
LEAST = 1e-4
CONFIGURATION: dict[str, Any] = {
    "resolution": [1, 32, 32],
    "autoencoder": {
        "num_scales": 3,
        "num_groups_per_scale": 2,
        "is_adaptive": False,
        "min_groups_per_scale": 1,
        "num_cells_per_group": 1,
        "num_latent_per_group": 8,
        "num_nf_cells": None,
        "initial_channels": 8,
        "num_pre-post_process_blocks": 1,
        "num_pre-post_process_cells": 1,
        "num_logistic_mixtures": 5,
    },
}


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO in nats per pixel."""
    assert isinstance(model, NVAE)
    likelihood, found = model.evidence(images)
    divergences = torch.stack(found).mean(1)
    beta = max(LEAST, min(1.0, share / WARM_UP))
    weights = balance(divergences.detach(), model.shape.groups_per_scale) if beta < 1 else torch.ones_like(divergences)
    objective = (beta * (weights * divergences).sum() - likelihood.mean()) / images[0].numel()
    active = (divergences > 0.1).sum()
    return {
        "loss": objective,
        "log p": likelihood.detach().mean(),
        "kl": divergences.detach().sum(),
        "active": active,
    }


def balance(divergences: Tensor, groups_per_scale: list[int]) -> Tensor:
    """Weight the KL term of each latent; latents whose KL is still small get a small weight (NVAE, appendix A).

    The weight of latent i at scale s is proportional to KL_i · n_s / 4^s, where n_s is the number of latents at scale s
    and 0 is the coarsest scale. No latent then becomes unused during the warm-up.

    Args:
        divergences: KL of each latent [L].
        groups_per_scale: number of latents at each scale, the coarsest first.

    Returns:
        Weights [L], which sum to L.
    """
    area = torch.cat([torch.full((count,), 4.0**scale / count) for scale, count in enumerate(groups_per_scale)])
    raw = divergences.abs() / area.to(divergences)
    return raw * len(raw) / raw.sum().clamp_min(1e-12)


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind reconstruction and purification, one draw each."""
    assert isinstance(model, NVAE)
    return purified_accuracies(mlvgm_purifiers(model), test, device, images=1000)


recipe = Recipe(
    name="fashion-nvae",
    kind="nvae",
    build=NVAE,
    architecture={"configuration": CONFIGURATION, "temperature": 0.6},
    loss=loss,
    quality=quality,
    about="An MLVGM in the layout of the paper's NVAE: 6 latent groups at 4×4, 8×8 and 16×16.",
    source="after NVAE (arXiv:2007.03898) and NVAE-from-scratch; trained for purebench",
    data=fashion_mnist,
    batch=16,
    rate=1e-2,
    decay=1e-4,
    ema=0.99,
    minutes=40,
)
