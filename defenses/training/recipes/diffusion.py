"""Recipe of the bundled diffusion model: noise prediction (Ho et al. 2020, eq. 14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the mean squared error of the predicted noise.

    Half of the timesteps are uniform, half below 300, which are those of purification.
    """
    x = 2 * images - 1
    reach = torch.where(torch.rand(len(x)) < 0.5, 1000, 300)
    t = (torch.rand(len(x)) * reach).long().to(x.device)
    level = noise_levels().to(x.device)[t].view(-1, 1, 1, 1)
    noise = torch.randn_like(x)
    predicted = model(level.sqrt() * x + (1 - level).sqrt() * noise, t)
    return {"loss": (predicted - noise).square().mean()}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind DiffPure, with one draw for each image."""
    from purebench.defenses.diffusion.diffpure import DiffPure

    settings = [(t, steps, sampler) for t in (100, 150, 200) for steps, sampler in ((4, "ddpm"), (4, "ddim"))]
    purifiers = {
        f"t* {t}, {steps} {sampler} steps": DiffPure(model, t=t, steps=steps, sampler=sampler)
        for t, steps, sampler in settings
    }
    return purified_accuracies(purifiers, test, device, images=500)


recipe = Recipe(
    name="fashion-ddpm",
    kind="folded-unet",
    build=FoldedUNet,
    architecture={"channels": 1, "size": 32, "fold": 4, "widths": [64, 96], "layers": 1, "groups": 8},
    loss=loss,
    quality=quality,
    about="The bundled diffusion model: a DDPM with the linear schedule of 1,000 steps over images in [-1,1].",
    source="after Ho et al. 2020, arXiv:2006.11239; trained for purebench",
    data=fashion_mnist,
    batch=64,
    rate=2e-3,
    decay=1e-4,
    minutes=30,
)
