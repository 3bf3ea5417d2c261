"""Randomised smoothing (Cohen et al. 2019, arXiv:1902.02918): the class predicted for most noisy copies of an image.

g(x) = argmax_c P(f(x + noise) = c), noise ~ N(0, sigma²), is constant within the l2 radius sigma·Φ^-1(p) of x, where
p > 1/2 is a lower bound on the probability of that class (theorem 1). f may be any classifier: here it clamps its
input to [0,1], and a denoiser before the classifier is part of it (Salman et al. 2020, arXiv:2003.01908), such as one
step of a diffusion model at the timestep whose noise is sigma (Carlini et al. 2023, arXiv:2206.10550).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.answers import check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Certificate, Defense, Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.core.parameters import Count, Positive, checked
from purebench.core.registry import Spec
from purebench.defenses.composition.voting import Voter, Votes
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.purifier import DiffusionPurifier
from purebench.defenses.diffusion.sampling import denoise, noise_levels
from purebench.defenses.transforms.simple import GaussianNoise
from purebench.statistics import clopper_pearson

ONE_STEP = "ddpm"
"""Name of the denoiser that is one step of the bundled diffusion model."""


class OneStep(DiffusionPurifier):
    """Gaussian noise, followed by one denoising step of a diffusion model.

    In the network's range [-1,1] the noise is 2·sigma. A state at alpha-bar a, divided by sqrt(a), has noise
    sqrt((1-a)/a). The timestep is the one where this is nearest (Carlini et al. 2023, algorithm 1). The noise is
    exactly sigma, as the certificate requires.

    Args:
        network: noise-prediction network eps(x_t, t) on [-1,1].
        sigma: standard deviation of the noise, in the units of images in [0,1].
        levels: alpha-bar of the network's timesteps [T]; DDPM's linear schedule by default.

    Raises:
        PurebenchError: If sigma is not positive or exceeds the largest noise of the network.
    """

    @checked("smoothing")
    def __init__(self, network: nn.Module, sigma: Positive, levels: Tensor | None = None):
        levels = noise_levels() if levels is None else levels
        self.sigma = sigma
        noises = ((1 - levels.double()) / levels.double()).sqrt() / 2
        if sigma > float(noises[-1]):
            raise PurebenchError(f"smoothing: expected sigma up to the network's {noises[-1]:.3g}, but got {sigma}.")
        t = int((noises.log() - torch.tensor(sigma, dtype=torch.float64).log()).abs().argmin()) + 1
        super().__init__(network, t=t, levels=levels, checkpointed=False, surrogate="identity")

    def forward(self, x: Tensor) -> Tensor:
        """Return denoised images in [0,1], differentiable."""
        level = self.level(self.top)
        state = level.sqrt() * (2 * (x + self.sigma * torch.randn_like(x)) - 1)
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, level) + 1) / 2


class Denoised(Purifier):
    """Gaussian noise, clamped to [0,1], followed by any purifier.

    Args:
        sigma: standard deviation of the noise, in the units of images in [0,1].
        purifier: the purifier behind the noise.
    """

    random = True

    def __init__(self, sigma: float, purifier: Purifier):
        super().__init__()
        self.noise, self.purifier = GaussianNoise(sigma), purifier

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified noisy images."""
        purified: Tensor = self.purifier(self.noise(x))
        return purified

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the surrogate of the purifier at noisy images."""
        return self.purifier.surrogate(self.noise(x))


class Smoothed(Defense):
    """Majority vote over noisy copies of an image, with a certified radius for the vote over all noise.

    Args:
        classifier: the classifier behind `noisy`; both together are f.
        noisy: purifier whose first step adds Gaussian noise of standard deviation `sigma`.
        sigma: standard deviation of the noise, in the units of images in [0,1].
        draws: noisy copies of an image that vote on one answer.

    Raises:
        PurebenchError: If sigma or draws is out of range.
    """

    @checked("smoothing")
    def __init__(self, classifier: nn.Module, noisy: Purifier, *, sigma: Positive, draws: Count):
        super().__init__(Voter(classifier, "majority"), Votes(noisy, draws))
        self.base, self.sigma, self.passes = Defense(classifier, noisy), sigma, draws

    @torch.no_grad()
    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        """Certify images by algorithm CERTIFY of Cohen et al.

        The class is the most frequent one among n0 draws; the radius comes from n fresh draws. The probability of the
        class is bounded by a one-sided Clopper & Pearson bound at confidence 1 - alpha. Where the bound is at most 1/2,
        the defense abstains.

        Args:
            x: images [N,C,H,W] in [0,1].
            n0: draws that choose the class.
            n: draws that bound its probability.
            alpha: upper bound on the probability that a certificate is wrong.
            batch: runs the draws in batches on the device.

        Returns:
            Classes (-1 where the defense abstains), l2 radii in the units of x (0 where it abstains), and the number of
            forward passes.
        """
        classes, radii = [], []
        for image in x:
            guess = int(self.counts(image, n0, batch).argmax())
            low = lower_bound(int(self.counts(image, n, batch)[guess]), n, alpha)
            classes.append(guess if low > 0.5 else -1)
            radii.append(self.sigma * float(ndtri(low)) if low > 0.5 else 0.0)
        found = torch.tensor(classes, dtype=torch.long), torch.tensor(radii, dtype=torch.float64)
        return Certificate(*found, passes=len(x) * (n0 + n))

    def counts(self, image: Tensor, draws: int, batch: DeviceBatch) -> Tensor:
        """Count the predicted classes of fresh noisy copies of an image.

        Args:
            image: image [C,H,W] in [0,1].
            draws: number of noisy copies.
            batch: runs the draws in batches on the device.

        Returns:
            Counts by class, int [K], on the CPU.
        """

        def sums(copies: Tensor) -> tuple[Tensor]:
            logits = check_logits(self.base(copies), len(copies))
            return (functional.one_hot(logits.argmax(1), logits.shape[1]).sum(0, keepdim=True),)

        apart = DeviceBatch(1) if self.shares_draws else batch  # the draws must be independent
        (found,) = apart.map(sums, image.expand(draws, *image.shape))
        return found.sum(0).cpu()


def lower_bound(successes: int, n: int, alpha: float) -> float:
    """Return the one-sided Clopper & Pearson lower bound of a probability at confidence 1 - alpha.

    Args:
        successes: number of successes.
        n: number of trials.
        alpha: probability that the bound exceeds the true value.
    """
    return clopper_pearson(successes, n, 1 - 2 * alpha).low


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=0,
    passes=16,
    licence="MIT",
    source="Cohen et al. 2019, arXiv:1902.02918",
)
@checked("smoothing")
def smoothing(
    *,
    sigma: Positive = 0.1,
    draws: Count = 16,
    denoiser: str | Mapping[str, Any] | None = None,
    classifier: nn.Module,
) -> Smoothed:
    """Vote over noisy copies of an image (randomised smoothing); the attack `certify` computes certified radii.

    Args:
        sigma: standard deviation of the noise, in the units of images in [0,1].
        draws: noisy copies of an image that vote on one answer.
        denoiser: None, `ddpm` for one step of the bundled diffusion model (`ddpm(weights=…)` for another), or any
            registered purifier.
        classifier: the board's classifier.

    Returns:
        The smoothed defense.

    Raises:
        PurebenchError: If a value is out of range, or the denoiser is not a purifier.
    """
    return Smoothed(classifier, noisy(sigma, denoiser, classifier), sigma=sigma, draws=draws)


def noisy(sigma: float, denoiser: str | Mapping[str, Any] | None, classifier: nn.Module) -> Purifier:
    """Return the purifier that adds Gaussian noise and then applies the given denoiser.

    Args:
        sigma: standard deviation of the noise, in the units of images in [0,1].
        denoiser: None, `ddpm` (with its weights) for one step of the diffusion model, or a registered purifier.
        classifier: the board's classifier.

    Raises:
        PurebenchError: If a value is out of range, or the denoiser is not a purifier.
    """
    if denoiser is None:
        return GaussianNoise(sigma)
    spec = Spec.parse(denoiser)
    if spec.name == ONE_STEP:
        params = dict(spec.params)
        return OneStep(network(params.pop("weights", "fashion-ddpm"), **params), sigma)
    made = registry.create("defenses", spec, classifier=classifier)
    if not isinstance(made, Purifier):
        raise PurebenchError(
            f"smoothing: expected denoiser to be {ONE_STEP} or a purifier, but {spec.name} is neither."
        )
    return Denoised(sigma, made)
