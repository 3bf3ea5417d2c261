"""PuVAE: the nearest of the reconstructions of the image as each class (Hwang et al. 2019, arXiv:1903.00585).

A VAE that is conditioned on the class projects the image onto the manifold of every class in turn. The purified image
is the projection with the smallest root mean squared error to the input.

The choice is an argmin, whose derivative is zero wherever it exists. The exact gradient therefore goes through the
chosen projection only and does not show how another one could become the nearest, so that an attack with exact
gradients lacks half of the information. The surrogate for BPDA adds it: all projections, weighted by how near they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.parameters import Positive, checked
from purebench.defenses.checkpoints import load
from purebench.defenses.vae.plain import posterior, reparametrised

HIDDEN = 128
"""Units of the layers that combine the class with the features and the latent."""
TINY = 1e-12


class ClassVAE(nn.Module):
    """Class-conditional VAE of images [N,C,32,32] in [0,1] with a latent vector [N,z].

    Encoder and decoder both receive the class, as one-hot rows [N,classes].

    Args:
        channels: channels of the images.
        classes: number of classes.
        width: channels of the first convolution.
        z: length of the latent vector.
    """

    def __init__(self, *, channels: int = 1, classes: int = 10, width: int = 24, z: int = 16):
        super().__init__()
        w = width
        self.classes = classes
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, w, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(w, 2 * w, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(64 * w, HIDDEN)),
        )
        self.posterior = nn.Sequential(nn.Linear(HIDDEN + classes, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * z))
        self.decoder = nn.Sequential(
            *(nn.Linear(z + classes, HIDDEN), nn.SiLU()),
            *(nn.Linear(HIDDEN, 64 * w), nn.Unflatten(1, (4 * w, 4, 4)), nn.SiLU()),
            *(nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1), nn.SiLU()),
            *(nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.SiLU()),
            *(nn.ConvTranspose2d(w, w, 4, 2, 1), nn.SiLU()),
            nn.Conv2d(w, channels, 3, padding=1),
        )

    def encode(self, features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the posterior.

        Args:
            features: features of the images, as `self.features` returns them.
            label: one-hot classes [N,classes].

        Returns:
            Mean and log-variance, [N,z] each.
        """
        return posterior(self.posterior(torch.cat([features, label], 1)))

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """Return images [N,C,32,32] in [0,1] of latent vectors [N,z] and one-hot classes [N,classes]."""
        return torch.sigmoid(self.decoder(torch.cat([z, label], 1)))

    def project(self, x: Tensor, sampled: bool) -> Tensor:
        """Reconstruct the images as each class.

        Args:
            x: images [N,C,H,W] in [0,1].
            sampled: whether to draw the latent from the posterior instead of using its mean.

        Returns:
            Reconstructions [N,classes,C,H,W] in [0,1].
        """
        count, every = len(x), torch.eye(self.classes, dtype=x.dtype, device=x.device)
        labels = every.repeat(count, 1)
        mean, logvar = self.encode(self.features(2 * x - 1).repeat_interleave(self.classes, 0), labels)
        code = reparametrised(mean, logvar) if sampled else mean
        return self.decode(code, labels).view(count, self.classes, *x.shape[1:])


def distances(projections: Tensor, x: Tensor) -> Tensor:
    """Return the root mean squared error of each image to its projections [N,K,C,H,W], [N,K]."""
    return ((projections - x[:, None]).square().flatten(2).mean(2) + TINY).sqrt()


class PuVAE(Purifier):
    """Project the image once per class with a class-conditional model, and return the nearest projection.

    Args:
        model: the model; its `project(x, sampled)` returns the projections [N,K,C,H,W] of images onto K classes.
        sampled: whether to draw the latents (random) instead of using their mean (deterministic).
        temperature: temperature of the surrogate's softmin, relative to the standard deviation of an image's distances,
            so that the softmin is one-hot for no image.

    Raises:
        PurebenchError: If the temperature is not a finite number above 0.
    """

    @checked("puvae")
    def __init__(self, model: ClassVAE, *, sampled: bool = False, temperature: Positive = 0.5):
        super().__init__()
        self.model, self.random, self.temperature = model, sampled, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest projection in [0,1]; the gradient is that of the chosen projection."""
        projections = self.model.project(x, self.random)
        chosen = distances(projections, x).argmin(1)
        return projections[torch.arange(len(x), device=x.device), chosen]

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the mean of all projections, weighted by the softmin of their distances."""
        projections = self.model.project(x, self.random)
        apart = distances(projections, x)
        spread = apart.detach().std(1, keepdim=True).clamp_min(TINY)
        weights = (-apart / (self.temperature * spread)).softmax(1)
        return (weights[:, :, None, None, None] * projections).sum(1)


@listed(
    random=False,
    gradient="exact",
    surrogate="softmin",
    forwards=10,
    licence="MIT",
    source="Hwang et al. 2019, arXiv:1903.00585",
)
def puvae(*, weights: str = "fashion-puvae", sampled: bool = False, temperature: Positive = 0.5) -> PuVAE:
    """Reconstruct the image as every class and return the nearest reconstruction: PuVAE (Hwang et al. 2019).

    Args:
        weights: a bundled name or a .safetensors file.
        sampled: whether to draw the latents instead of using their mean.
        temperature: temperature of the surrogate's softmin, relative to the spread of an image's distances.
    """
    return PuVAE(load(weights, "class-vae", ClassVAE), sampled=sampled, temperature=temperature)
