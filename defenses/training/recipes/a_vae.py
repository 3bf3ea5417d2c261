"""Recipe of the bundled A-VAE: WGAN-GP and a divergence as released, plus a reconstruction term, which is not released.

The released loss only requires that outputs look like some image of the data set (the critic) and that codes are
normally distributed. Nothing requires that an output shows the input image, least of all after the few steps of
training of a small model. The reconstruction term, a mean absolute difference, does. It is absolute rather than
squared, because a squared one would blur what the critic sharpens. Weights from this recipe therefore differ from those
of the released training, however they are used for purification.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.training.recipes.adversarial import Critic, WithCritic
from purebench.defenses.vae.a_vae.network import AVAE
from purebench.defenses.vae.a_vae.purifier import RELEASED_TEMPERATURE, AVAEPurifier

PIXELS = 100.0
"""Weight of the reconstruction. Its gradient has about three times the norm of a 1-Lipschitz critic's on 32×32."""
DRIFT, PENALTY = 1e-3, 10.0
"""Weights of the critic's squared outputs and of the distance of its gradient's norm from 1, as released."""


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Compute the loss of the autoencoder and of the critic; the critic receives images in [-1,1]."""
    assert isinstance(model, WithCritic)
    autoencoder = model.model
    assert isinstance(autoencoder, AVAE)
    encoded = autoencoder.encode(images)
    made = autoencoder.decode(encoded, autoencoder.chance(encoded))
    pixels = (made - images).abs().mean()
    kl = divergence(encoded.mean, encoded.logvar)
    real, fake = 2 * images - 1, 2 * made - 1
    looks = -model.held(fake)[0].mean()
    critic = critic_loss(model.critic, real, fake.detach())
    return {
        "loss": looks + kl + PIXELS * pixels + critic,
        "pixels": pixels.detach(),
        "kl": kl.detach(),
        "looks": looks.detach(),
        "critic": critic.detach(),
    }


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) ‖ N(0,1)) in nats, averaged over all latents."""
    return -0.5 * (1 + logvar - mean.square() - logvar.exp()).mean()


def critic_loss(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """Compute the loss of WGAN-GP with the drift term of progressive GANs.

    Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1.

    Args:
        critic: the critic.
        real: real images [N,C,H,W] in [-1,1].
        fake: generated images [N,C,H,W] in [-1,1].
    """
    answer = critic(real)[0]
    between = real.lerp(fake, torch.rand(len(real), 1, 1, 1).to(real.device)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between)[0].sum(), between, create_graph=True)
    steep = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    loss: Tensor = critic(fake)[0].mean() - answer.mean() + DRIFT * answer.square().mean() + PENALTY * steep
    return loss


def with_critic(model: nn.Module) -> WithCritic:
    """Return the model with a small critic that judges each image by itself."""
    return WithCritic(model, Critic(widths=(8, 16, 32, 64), varied=False))


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind a-vae and a-vae-released."""
    assert isinstance(model, AVAE)
    purifiers = {
        "a-vae, nearest of 16 samples": AVAEPurifier(model, samples=16, temperature=1.0),
        "a-vae-released, one sample": AVAEPurifier(model, samples=1, temperature=RELEASED_TEMPERATURE),
    }
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-a-vae",
    kind="a-vae",
    build=AVAE,
    architecture={"size": 32, "inside": 16, "colours": 1, "width": 64},
    loss=loss,
    quality=quality,
    about="A small A-VAE, whose encoder receives images reduced from 32 to 16 pixels. It was trained with the loss of "
    "WGAN-GP and a divergence, as in the release by Serez et al. 2025, and with a reconstruction term, which the "
    "release does not have. The defense a-vae uses the nearest of several samples, and a-vae-released uses one sample. "
    "Both use these weights, which differ from weights trained as in the release.",
    source="after A-VAE (Zhou et al., ECCV 2020) and its release by Serez et al. 2025 (arXiv:2412.03453); trained for "
    "purebench",
    data=fashion_mnist,
    batch=32,
    rate=4e-3,
    decay=0.0,
    ema=0.99,
    betas=(0.0, 0.99),
    factors={"model.style": 0.01, "critic": 0.25},
    around=with_critic,
    kept="model",
    minutes=12,
)
