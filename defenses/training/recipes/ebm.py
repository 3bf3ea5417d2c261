"""Recipe of the bundled energy-based model: contrastive divergence with short chains that start at noised images.

The energy of images is lowered and that of the ends of Langevin chains from noised images is raised (Hinton 2002;
short-run chains: Nijkamp et al. 2019, arXiv:1904.09770), with the small penalty on the size of the energies of Du &
Mordatch 2019, arXiv:1903.08689. Chains that start near an image must thus return to images, which is what a purifier
needs.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.diffusion.chain import draw_seeds
from purebench.defenses.ebm.langevin import EBMLangevin, Energy, langevin
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies

STEPS, RATE, TEMPERATURE = 6, 1.0, 5e-5
"""Steps, rate and temperature of the chains; the purifier uses the same except for the number of steps."""
NOISE = 0.2
"""Largest standard deviation of the noise at the start of chains."""
SIZE = 0.1
"""Weight of the squared energies."""


def chains(energy: nn.Module, images: Tensor) -> Tensor:
    """Return the ends of Langevin chains from noised images, without gradients.

    The standard deviation of the noise is drawn for each image.
    """
    deviation = NOISE * torch.rand(len(images), 1, 1, 1).to(images.device)
    state = images + deviation * torch.randn_like(images)
    step = partial(langevin, energy, rate=RATE, temperature=TEMPERATURE)
    for seed in draw_seeds(STEPS):
        state = step(state, seed).detach()
    return state


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return f(images) - f(ends of chains), plus the penalty."""
    model.requires_grad_(False)
    ends = chains(model, images)
    model.requires_grad_(True)
    jittered = images + (2 * RATE * TEMPERATURE) ** 0.5 * torch.randn_like(images)
    low, high = model(torch.cat([jittered, ends])).chunk(2)
    gap = low.mean() - high.mean()
    size = (low.square() + high.square()).mean()
    error = (ends.clamp(0, 1) - images).square().mean()
    return {"loss": gap + SIZE * size, "gap": gap.detach(), "size": size.detach(), "mse": error}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind chains of several lengths."""
    purifiers = {f"{steps} steps": EBMLangevin(model, steps=steps) for steps in (5, 10, 20, 40)}
    return purified_accuracies(purifiers, test, device, images=1000)


recipe = Recipe(
    name="fashion-ebm",
    kind="energy",
    build=Energy,
    architecture={"channels": 1, "size": 32, "widths": [24, 48, 64]},
    loss=loss,
    quality=quality,
    about="An energy-based model, trained so that short Langevin chains from noised images reach clean images.",
    source="after Hill et al. 2021, arXiv:2005.13525, and Nijkamp et al. 2019, arXiv:1904.09770; trained for purebench",
    data=fashion_mnist,
    batch=32,
    rate=2e-3,
    decay=0.0,
    minutes=12,
)
