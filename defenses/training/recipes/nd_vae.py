"""Recipe of the bundled ND-VAE: clean images from attacked and noisy ones, with a trained start of the decoder.

As released by Serez et al. 2025 (arXiv:2412.03453): pairs of a clean image and its FGSM image in l2 against the
undefended classifier, with added noise; the negative ELBO of the clean image; divergences balanced during warm-up.
Different from the release: the start of the decoder is trained and stored; divergences are balanced by the areas of
their latents, as in NVAE (the release's list has the right length for two scales only, and gives the second of the two
latents at the top the weight of the finer scale); attacked images are not rounded to bytes; the optimizer is that of
all recipes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.classifiers.resnet import ResNet, fashion_resnet
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.training.recipes.nvae import LEAST, WARM_UP, balance
from purebench.defenses.vae.nd_vae.network import NDVAE
from purebench.defenses.vae.nd_vae.purifier import NOISE, NDVAEPurifier

BOUND = 2.0
"""l2 norm of the perturbation of attacked images; on 32×32, that of the linf attack at 16/255."""
LATE = 1e-4
"""Share of the run before the weight of the divergence starts to rise."""


@cache
def target(device: torch.device) -> ResNet:
    """Return the classifier that is attacked."""
    return fashion_resnet().to(device)


def fgsm(classifier: nn.Module, x: Tensor, y: Tensor, bound: float) -> Tensor:
    """Move each correctly classified image by `bound` in l2 along the sign of its gradient.

    Args:
        classifier: the attacked classifier.
        x: images [N,C,H,W] in [0,1].
        y: labels [N].
        bound: l2 norm of the perturbation.

    Returns:
        Attacked images [N,C,H,W] in [0,1].
    """
    asked = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = classifier(asked)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, y, reduction="sum"), asked)
    way = gradient.sign()
    size = way.flatten(1).norm(dim=1).clamp_min(1).view(-1, 1, 1, 1)
    right = (logits.argmax(1) == y).view(-1, 1, 1, 1)
    return torch.where(right, (x + bound * way / size).clamp(0, 1), x)


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO of the clean images in nats per pixel, encoded from attacked and noisy ones."""
    assert isinstance(model, NDVAE)
    start = model.start
    assert start is not None
    attacked = fgsm(target(images.device), images, labels, BOUND)
    seen = (attacked + NOISE * torch.randn_like(attacked)).clamp(0, 1)
    likelihood, found = model.evidence(seen, images, start)
    divergences = torch.stack(found).mean(1)
    beta = max(LEAST, min(1.0, (share - LATE) / WARM_UP))
    scales = [2] + [1] * (len(found) - 2)
    weights = balance(divergences.detach(), scales) if beta < 1 else torch.ones_like(divergences)
    objective = (beta * (weights * divergences).sum() - likelihood.mean()) / images[0].numel()
    return {"loss": objective, "log p": likelihood.detach().mean(), "kl": divergences.detach().sum()}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind nd-vae, and nd-vae-released with three starts."""
    assert isinstance(model, NDVAE)
    purifiers = {"nd-vae": NDVAEPurifier(model, noise=NOISE)}
    for seed in range(3):
        purifiers[f"nd-vae-released, seed {seed}"] = NDVAEPurifier(model, noise=NOISE, seed=seed)
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-nd-vae",
    kind="nd-vae",
    build=NDVAE,
    architecture={
        "colours": 1,
        "width": 8,
        "halvings": 2,
        "scales": 2,
        "groups": 1,
        "cells": 1,
        "mixtures": 3,
        "side": 4,
    },
    loss=loss,
    quality=quality,
    about="A small ND-VAE, trained on pairs of an FGSM image (l2 2 against fashion-resnet) with noise and the clean "
    "image. The tensor from which its decoder starts is trained and stored, which the release by Serez et al. 2025 "
    "intends but does not do. The defense nd-vae uses the stored tensor; nd-vae-released uses the same weights, but "
    "draws this tensor from a seed.",
    source="after ND-VAE (IEEE Xplore 10387596) and its release by Serez et al. 2025 (arXiv:2412.03453); trained for "
    "purebench",
    data=fashion_mnist,
    batch=16,
    rate=1e-2,
    decay=1e-4,
    ema=0.99,
    minutes=14,
)
