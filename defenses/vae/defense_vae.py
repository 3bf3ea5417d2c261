"""Defense-VAE: an autoencoder trained to map attacked images to the clean ones (Li & Ji 2019, arXiv:1812.06570).

At inference it is an ordinary VAE purifier. Only the training differs; see the recipe `defense_vae`.
"""

from __future__ import annotations

from purebench.core.defense.listed import listed
from purebench.defenses.checkpoints import load
from purebench.defenses.vae.plain import VAE, VAEPurifier


@listed(
    random=False,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="Li & Ji 2019, arXiv:1812.06570",
)
def defense_vae(*, weights: str = "fashion-defense-vae", sampled: bool = False) -> VAEPurifier:
    """Purify with an autoencoder that was trained to map attacked images to the clean ones: Defense-VAE (Li & Ji 2019).

    Args:
        weights: a bundled name or a .safetensors file.
        sampled: whether to draw the latent from the posterior instead of using its mean.
    """
    return VAEPurifier(load(weights, "vae", VAE), sampled=sampled)
