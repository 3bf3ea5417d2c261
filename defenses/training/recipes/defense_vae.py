"""Recipe of the bundled Defense-VAE: from attacked to clean images (Li & Ji 2019, arXiv:1812.06570, equation 5).

The attacks are computed during training against the undefended classifier; the purifier itself is not attacked. The
training starts from the weights of the plain VAE.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from purebench.defenses.checkpoints import load
from purebench.defenses.training.recipes import vae
from purebench.defenses.training.recipes.attacked import ATTACKS, attacked
from purebench.defenses.vae.plain import VAE


def begun(model: nn.Module) -> nn.Module:
    """Load the weights of fashion-vae into the model."""
    model.load_state_dict(load("fashion-vae", "vae", VAE).state_dict())
    return model


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO of the clean images, encoded from the attacked ones."""
    return vae.bound(model, attacked(images, labels), images)


recipe = replace(
    vae.recipe,
    name="fashion-defense-vae",
    around=begun,
    loss=loss,
    about=f"Defense-VAE: attacked images ({', '.join(ATTACKS)}) are mapped to the clean ones. Training starts from "
    "fashion-vae.",
    source="after Li & Ji 2019, arXiv:1812.06570; trained for purebench",
    batch=64,
    rate=1e-3,
    minutes=12,
)
