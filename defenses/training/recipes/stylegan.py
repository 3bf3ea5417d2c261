"""Recipe of the bundled StyleGAN2 with an encoder: generator, encoder and critic trained together.

The reconstruction loss (pixels, and features of the critic as in Larsen et al. 2016, arXiv:1512.09300) requires that
the codes describe the image. Mixes of an image's codes with samples, with larger shares of samples for finer codes,
must look real, must preserve what the kept codes control, and must be encoded as the codes they were made from. Codes
and samples have the same means and standard deviations. Thus both share one space, ordered from coarse to fine. No
classifier is used in training, so that the model contains none.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.stylegan.autoencoder import mixed
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import purified_accuracies
from purebench.defenses.training.recipes.adversarial import (
    EVERY,
    GAMMA,
    Critic,
    WithCritic,
    critic_loss,
    feature_distance,
    generator_loss,
    penalty,
)

PIXELS, FEATURES = 20.0, 1.0
"""Weights of the reconstruction losses on pixels and on features."""
LOOK, KEEP, CYCLE = 0.3, 10.0, 0.5
"""Weights of the losses on mixes: realism, preservation of the kept content, and re-encoding."""
MATCH = 2.0
"""Weight of the distance between the moments of codes and of samples."""
DRAWN = {4: 1, 8: 3, 16: 5}
"""Side in pixels → number of codes, counted from the coarsest, that control the features of that side."""


def random_alphas(count: int, latents: int) -> Tensor:
    """Draw shares that are resampled: for each image a random ramp from coarse to fine.

    Position, width and height of the ramp are uniform, except that half of the ramps reach 1.

    Args:
        count: number of images.
        latents: number of latents.

    Returns:
        Shares [count,latents] in [0,1].
    """
    place = (latents + 2) * torch.rand(count, 1) - 1
    width = 0.1 + latents * torch.rand(count, 1)
    height = torch.rand(count, 1).mul(2).clamp(max=1)
    return height * ((torch.arange(latents) - place) / width + 0.5).clamp(0, 1)


def kept_look(mixes: Tensor, images: Tensor, alphas: Tensor) -> Tensor:
    """Return the mean absolute difference of mixes and images at the sides of DRAWN, weighted by the codes' kept share.

    Args:
        mixes: mixed images [N,C,H,W].
        images: original images [N,C,H,W].
        alphas: resampled shares [N,L].
    """
    total = mixes.new_zeros(())
    for side, codes in DRAWN.items():
        gap = functional.adaptive_avg_pool2d(mixes - images, side).abs().mean((1, 2, 3))
        total = total + ((1 - alphas[:, :codes]).prod(1) * gap).mean()
    return total


def moments_apart(codes: Tensor, samples: Tensor) -> Tensor:
    """Return the squared differences of the means and of the standard deviations over the batch, averaged over L and D.

    Args:
        codes: codes [N,L,D].
        samples: samples [N,L,D].
    """
    means = codes.mean(0) - samples.mean(0)
    deviations = codes.std(0) - samples.std(0)
    return (means.square() + deviations.square()).mean()


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Compute the loss of the generator and of the critic.

    Mixes are made from the first half of the images; the critic receives the second half.
    """
    assert isinstance(model, WithCritic)
    gan = model.model
    assert isinstance(gan, SmallStyleGAN)
    real, half = 2 * images - 1, len(images) // 2
    codes, samples = gan.encoder(real), []
    alphas = random_alphas(half, gan.latents).to(images.device)

    def mix(i: int, code: Tensor, sample: Tensor) -> Tensor:
        samples.append(sample)
        return code.lerp(sample, alphas[:, i : i + 1])

    mixed_codes = mixed(codes[:half], gan.decoder, mix)
    again, mixes = gan.decoder(torch.cat([codes, mixed_codes])).split([len(real), half])
    pixels = (again - real).abs().mean()
    keeps = kept_look(mixes, real[:half], alphas)
    apart = moments_apart(codes, torch.stack(samples, dim=1))
    cycle = (gan.encoder(mixes.detach()) - mixed_codes.detach()).square().mean()
    looks = generator_loss(model.held(mixes)[0])
    critic, features = judged(model.critic, real[half:], mixes.detach())
    distance = feature_distance(features, model.held(again[half:])[1])
    objective = PIXELS * pixels + FEATURES * distance + LOOK * looks + KEEP * keeps + CYCLE * cycle + MATCH * apart
    return {
        "loss": objective + critic,
        "mse": ((again - real) / 2).square().mean().detach(),
        "features": distance.detach(),
        "keeps": keeps.detach(),
        "apart": apart.detach(),
        "cycle": cycle.detach(),
        "looks": looks.detach(),
        "critic": critic.detach(),
    }


def judged(critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Compute the critic's loss, with R1 in one of EVERY steps.

    Args:
        critic: the critic.
        real: real images [N,C,H,W] in [-1,1].
        fake: generated images [N,C,H,W] in [-1,1].

    Returns:
        The loss, and the critic's features of the real images, detached.
    """
    lazy = bool(torch.rand(()) < 1 / EVERY)
    real = real.detach().requires_grad_(lazy)
    logits, features = critic(real)
    total = critic_loss(logits, critic(fake)[0])
    if lazy:
        total = total + GAMMA * EVERY * penalty(logits, real)
    return total, [feature.detach() for feature in features]


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy of the bundled classifier behind reconstruction and purification, one draw each."""
    assert isinstance(model, SmallStyleGAN)
    purifiers = {"reconstruction (alpha 0)": MLVGMPurifier(model, attenuation=0.0)}
    for schedule, attenuation in product(("linear", "cosine"), (0.5, 0.7, 1.0)):
        purifier = MLVGMPurifier(model, schedule=schedule, attenuation=attenuation)
        purifiers[f"{schedule} × {attenuation:g}"] = purifier
    return purified_accuracies(purifiers, test, device)


recipe = Recipe(
    name="fashion-stylegan",
    kind="small-stylegan",
    build=SmallStyleGAN,
    architecture={
        "size": 32,
        "dim": 64,
        "mappings": 4,
        "channels": {"4": 64, "8": 64, "16": 32, "32": 16},
        "widths": [96, 64, 32],
        "colours": 1,
    },
    around=WithCritic,
    kept="model",
    loss=loss,
    quality=quality,
    about="A bundled MLVGM: a small StyleGAN2 of 8 codes, with an encoder.",
    source="after StyleGAN2 (arXiv:1912.04958) and e4e (arXiv:2102.02766); trained for purebench",
    data=fashion_mnist,
    batch=32,
    rate=4e-3,
    decay=0.0,
    factors={"model.decoder": 3.0, "critic": 0.25},
    minutes=45,
)
