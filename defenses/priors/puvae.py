"""PuVAE: a reconstruction of the image as each class, of which the nearest is taken (Hwang et al. 2019).

arXiv:1903.00585. A VAE that is conditioned on the class projects the image onto the manifold of every class in turn;
the purified image is the projection with the smallest root mean squared error to the input.

The choice is an argmin. Its slope is zero wherever it exists, so the exact gradient sees the chosen projection alone,
and nothing in it says how another could become the nearest: an attack with exact gradients is told half of the truth.
The surrogate for BPDA tells the rest: all projections, mixed by how near they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core.defense import Purifier
from purebench.defenses.checkpoints import load
from purebench.defenses.transforms.simple import positive

HIDDEN = 128
"""Units of the layers in which the class meets the features and the latent."""
TINY = 1e-12


class ClassVAE(nn.Module):
    """Images [N,C,32,32] in [0,1] and classes ↔ a latent vector [N,z]; both halves are told the class.

    Classes are one-hot rows [N,classes].
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
        """Mean and log-variance of the posterior, [N,z] each, from an image's features and a class."""
        mean, logvar = self.posterior(torch.cat([features, label], 1)).chunk(2, dim=1)
        return mean, 10 * torch.tanh(logvar / 10)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """Images in [0,1]."""
        return torch.sigmoid(self.decoder(torch.cat([z, label], 1)))

    def project(self, x: Tensor, sampled: bool) -> Tensor:
        """The image as each class, [N,classes,C,H,W] in [0,1]; sampled: from a draw of the posterior, not its mean."""
        count, every = len(x), torch.eye(self.classes, dtype=x.dtype, device=x.device)
        labels = every.repeat(count, 1)
        mean, logvar = self.encode(self.features(2 * x - 1).repeat_interleave(self.classes, 0), labels)
        code = mean + (logvar / 2).exp() * torch.randn_like(mean) if sampled else mean
        return self.decode(code, labels).view(count, self.classes, *x.shape[1:])


def distances(projections: Tensor, x: Tensor) -> Tensor:
    """Root mean squared error of the projections [N,K,C,H,W] of each image to it, [N,K]."""
    return ((projections - x[:, None]).square().flatten(2).mean(2) + TINY).sqrt()


class PuVAE(Purifier):
    """The projection that is nearest to the image, by any model whose `project` gives one a class.

    sampled: draw the latents (random) instead of taking their mean (deterministic). temperature: of the surrogate's
    softmin, in units of the deviation of an image's distances, so that no image saturates it.
    Raises PurebenchError for a temperature that is not a finite number above 0.
    """

    def __init__(self, model: ClassVAE, *, sampled: bool = False, temperature: float = 0.5):
        super().__init__()
        self.model, self.random = model, sampled
        self.temperature = positive("puvae", "temperature", temperature)

    def forward(self, x: Tensor) -> Tensor:
        """The nearest projection in [0,1]; its gradient is that of the projection chosen."""
        projections = self.model.project(x, self.random)
        chosen = distances(projections, x).argmin(1)
        return projections[torch.arange(len(x), device=x.device), chosen]

    def surrogate(self, x: Tensor) -> Tensor:
        """All projections, mixed by the softmin of their distances."""
        projections = self.model.project(x, self.random)
        apart = distances(projections, x)
        spread = apart.detach().std(1, keepdim=True).clamp_min(TINY)
        weights = (-apart / (self.temperature * spread)).softmax(1)
        return (weights[:, :, None, None, None] * projections).sum(1)


def puvae(*, weights: str = "fashion-puvae", sampled: bool = False, temperature: float = 0.5) -> PuVAE:
    """PuVAE: the image reconstructed as every class, the nearest taken (Hwang et al. 2019)."""
    return PuVAE(load(weights, "class-vae", ClassVAE), sampled=sampled, temperature=temperature)
