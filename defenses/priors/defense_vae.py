"""Defense-VAE: an autoencoder that was trained to answer attacked images with the clean ones (Li & Ji 2019).

arXiv:1812.06570. At inference it is any VAE purifier; what is its own is the training, in `training.defense_vae`.
"""

from __future__ import annotations

from purebench.defenses.checkpoints import load
from purebench.defenses.vae.plain import VAE, VAEPurifier


def defense_vae(*, weights: str = "fashion-defense-vae", sampled: bool = False) -> VAEPurifier:
    """Defense-VAE: an autoencoder trained to answer attacked images with the clean ones (Li & Ji 2019)."""
    return VAEPurifier(load(weights, "vae", VAE), sampled=sampled)
