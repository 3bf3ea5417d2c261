"""Recipes of small generative models of CIFAR-10: those of Fashion-MNIST with other sizes, data and budgets."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from purebench.core.defense import Purifier
from purebench.data.image_set import ImageSet
from purebench.data.jpeg_copy.cifar10 import cifar10_jpeg
from purebench.defenses import checkpoints
from purebench.defenses.classifiers.cifar10 import cifar10_resnet
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.training.cifar10 import classifier
from purebench.defenses.training.cifar10.classifier import COPY, IMAGES
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import (
    RECONSTRUCTION,
    mlvgm_purifiers,
    purified_accuracies,
    purified_psnr,
)
from purebench.defenses.training.recipes import diffusion, hvae, nvae, vae
from purebench.defenses.vae.plain import VAE, VAEPurifier

SHARED: dict[str, Any] = {"data": cifar10_jpeg, "trained_on": IMAGES, "precision": "bf16-layers"}
"""Settings of all recipes of this file."""


def figures(
    purifiers: Mapping[str, Purifier], test: ImageSet, device: torch.device, images: int, *, shown: tuple[str, ...]
) -> dict[str, float]:
    """Measure the PSNR of some purifiers, and the clean accuracies of cifar10-resnet behind all of them.

    The accuracies are left out while the package does not contain the weights of cifar10-resnet.

    Args:
        purifiers: the purifiers by name.
        test: the test images.
        device: device of the evaluation.
        images: number of images.
        shown: names of the purifiers whose PSNR is measured.
    """
    found = purified_psnr({name: purifiers[name] for name in shown}, test, device, images)
    if (checkpoints.BUNDLED / f"{classifier.recipe.name}.safetensors").is_file():
        found |= purified_accuracies(purifiers, test, device, images, classifier=cifar10_resnet)
    return {f"{name} {COPY}": value for name, value in found.items()}


def mlvgm_quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure reconstruction and purification by an MLVGM, one draw each."""
    assert isinstance(model, MLVGM)
    return figures(mlvgm_purifiers(model), test, device, 1000, shown=(RECONSTRUCTION,))


def vae_quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure reconstruction by the plain VAE."""
    assert isinstance(model, VAE)
    purifiers = {"posterior mean": VAEPurifier(model), "posterior sample": VAEPurifier(model, sampled=True)}
    return figures(purifiers, test, device, 2000, shown=("posterior mean",))


def diffusion_quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure DiffPure at several diffusion times, with one draw for each image."""
    from purebench.defenses.diffusion.diffpure import DiffPure

    purifiers: dict[str, Purifier] = {
        f"t* {t}, 4 {sampler} steps": DiffPure(model, t=t, steps=4, sampler=sampler)
        for t in (50, 75, 100, 150)
        for sampler in ("ddpm", "ddim")
    }
    return figures(purifiers, test, device, 500, shown=("t* 50, 4 ddim steps", "t* 100, 4 ddim steps"))


def _nvae_configuration() -> dict[str, Any]:
    """Return the configuration of fashion-nvae with three colours and more channels of each latent."""
    configuration = copy.deepcopy(nvae.CONFIGURATION)
    configuration["resolution"] = [3, 32, 32]
    configuration["autoencoder"]["num_latent_per_group"] = 12
    return configuration


cifar10_hvae: Recipe = replace(
    hvae.recipe,
    **SHARED,
    name="cifar10-hvae",
    architecture={"channels": 3, "size": 32, "widths": [128, 96, 64], "groups": [2, 3, 3], "z": 12},
    quality=mlvgm_quality,
    about="A hierarchical VAE of CIFAR-10: 8 latent groups at 4×4, 8×8 and 16×16.",
    batch=64,
    steps=6000,
)
cifar10_nvae: Recipe = replace(
    nvae.recipe,
    **{**SHARED, "precision": "channels-last"},
    name="cifar10-nvae",
    architecture={"configuration": _nvae_configuration(), "temperature": 0.6},
    quality=mlvgm_quality,
    about="An NVAE of CIFAR-10, in the layout of the paper's: 6 latent groups at 4×4, 8×8 and 16×16.",
    batch=32,
    steps=6000,
)
cifar10_vae: Recipe = replace(
    vae.recipe,
    **SHARED,
    name="cifar10-vae",
    architecture={"channels": 3, "width": 48, "z": 320},
    quality=vae_quality,
    about="A plain VAE of CIFAR-10: one latent vector.",
    steps=9000,
)
cifar10_ddpm: Recipe = replace(
    diffusion.recipe,
    **SHARED,
    name="cifar10-ddpm",
    architecture={"channels": 3, "size": 32, "fold": 2, "widths": [64, 128, 128], "layers": 1, "groups": 8},
    quality=diffusion_quality,
    about="A diffusion model of CIFAR-10: a DDPM with the linear schedule of 1,000 steps over images in [-1,1].",
    steps=6000,
)
