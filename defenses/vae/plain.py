"""A plain VAE with one latent vector (Kingma & Welling 2014, arXiv:1312.6114), and purification by autoencoding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core.defense import GaussianEncoder
from purebench.core.defense.listed import listed
from purebench.defenses.checkpoints import load


def posterior(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance [N,z], the latter within ±10, from the output [N,2z] of an encoder."""
    mean, logvar = parameters.chunk(2, dim=1)
    return mean, 10 * torch.tanh(logvar / 10)


def reparametrised(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return a draw from N(mean, exp(logvar)) that is differentiable in both (Kingma & Welling 2014, section 2.4)."""
    return mean + (logvar / 2).exp() * torch.randn_like(mean)


class VAE(nn.Module):
    """Convolutional VAE of images [N,C,32,32] in [0,1] with a latent vector [N,z].

    Args:
        channels: channels of the images.
        width: channels of the first convolution.
        z: length of the latent vector.
    """

    def __init__(self, *, channels: int = 1, width: int = 24, z: int = 32):
        super().__init__()
        w = width
        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, w, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(w, 2 * w, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(64 * w, 2 * z)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(z, 64 * w), nn.Unflatten(1, (4 * w, 4, 4)), nn.SiLU()),
            *(nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1), nn.SiLU()),
            *(nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.SiLU()),
            *(nn.ConvTranspose2d(w, w, 4, 2, 1), nn.SiLU()),
            nn.Conv2d(w, channels, 3, padding=1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior, [N,z] each."""
        return posterior(self.encoder(2 * x - 1))

    def decode(self, z: Tensor) -> Tensor:
        """Return images [N,C,32,32] in [0,1] of latent vectors [N,z]."""
        return torch.sigmoid(self.decoder(z))


class VAEPurifier(GaussianEncoder):
    """Purifier that replaces an image by its reconstruction.

    Args:
        model: the VAE.
        sampled: whether to draw the latent from the posterior (random) instead of using its mean (deterministic).
    """

    def __init__(self, model: VAE, *, sampled: bool = False):
        super().__init__()
        self.model, self.random = model, sampled

    @property
    def kept(self) -> list[float]:
        """The posterior alone determines the latent: 1."""
        return [1.0]

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance [N,z] of the posterior."""
        mean, logvar = self.model.encode(x)
        return [(mean, logvar.exp())]

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions in [0,1]."""
        mean, logvar = self.model.encode(x)
        return self.model.decode(reparametrised(mean, logvar) if self.random else mean)


@listed(
    random=False,
    gradient="exact",
    surrogate="identity",
    forwards=1,
    licence="MIT",
    source="after Kingma & Welling 2014, arXiv:1312.6114",
)
def vae(*, weights: str = "fashion-vae", sampled: bool = False) -> VAEPurifier:
    """Purify with a plain VAE: the image is replaced by its reconstruction.

    Args:
        weights: a bundled name or a .safetensors file.
        sampled: whether to draw the latent from the posterior instead of using its mean.
    """
    return VAEPurifier(load(weights, "vae", VAE), sampled=sampled)
