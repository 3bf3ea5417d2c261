"""Recipe of the bundled PuVAE: a conditional evidence lower bound, and a classifier's loss on reconstructions.

Hwang et al. 2019, arXiv:1903.00585: reconstruction, divergence, and the cross-entropy of the source classifier on the
reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.training.recipes.attacked import source_classifier
from purebench.defenses.vae.plain import reparametrised
from purebench.defenses.vae.puvae import ClassVAE, PuVAE

SEEN = 0.05
"""Weight of the cross-entropy, relative to the bound in nats per pixel."""
BETA = 1.0


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the negative ELBO in nats per pixel, D/2·log MSE + KL, plus the classifier's cross-entropy.

    The bound is that of Rybkin et al. 2021.
    """
    assert isinstance(model, ClassVAE)
    told = functional.one_hot(labels, model.classes).to(images)
    mean, logvar = model.encode(model.features(2 * images - 1), told)
    again = model.decode(reparametrised(mean, logvar), told)
    error = (again - images).square().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
    seen = functional.cross_entropy(source_classifier(images.device)(again), labels)
    objective = 0.5 * (error + 1e-4).log() + BETA * divergence / images[0].numel() + SEEN * seen
    return {"loss": objective, "mse": error.detach(), "kl": divergence.detach(), "seen": seen.detach()}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind the purifier."""
    assert isinstance(model, ClassVAE)
    purifiers = {"posterior mean": PuVAE(model), "posterior sample": PuVAE(model, sampled=True)}
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-puvae",
    kind="class-vae",
    build=ClassVAE,
    architecture={"channels": 1, "classes": 10, "width": 24, "z": 16},
    loss=loss,
    quality=quality,
    about="PuVAE: a class-conditional VAE, trained with the cross-entropy of a classifier on its reconstructions.",
    source="after Hwang et al. 2019, arXiv:1903.00585; trained for purebench",
    data=fashion_mnist,
    batch=64,
    rate=2e-3,
    minutes=12,
)
