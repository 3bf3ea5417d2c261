"""Recipe of the bundled Defense-VAE: attacked images in, clean ones out (Li & Ji 2019, arXiv:1812.06570, equation 5).

The attacks are made on the fly, through the undefended classifier: the purifier is not attacked in training. It begins
with the plain VAE's weights, and differs from it in what it has learned since.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from purebench.defenses.checkpoints import load
from purebench.defenses.training.recipes import vae
from purebench.defenses.training.recipes.attacked import ATTACKS, attacked
from purebench.defenses.vae.plain import VAE


def begun(model: nn.Module) -> nn.Module:
    """The model with the weights of fashion-vae."""
    model.load_state_dict(load("fashion-vae", "vae", VAE).state_dict())
    return model


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """The bound of the clean image, coded from the attacked one."""
    return vae.bound(model, attacked(images, labels), images)


recipe = replace(
    vae.recipe,
    name="fashion-defense-vae",
    around=begun,
    loss=loss,
    about=f"Defense-VAE: attacked images ({', '.join(ATTACKS)}) mapped to the clean ones, from fashion-vae on.",
    source="after Li & Ji 2019, arXiv:1812.06570; trained for purebench",
    batch=64,
    rate=1e-3,
    minutes=12,
)
