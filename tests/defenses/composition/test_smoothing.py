"""Tests randomised smoothing: closed form on linear classifiers, Cohen et al.'s bounds, one-step denoising."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor, nn

from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Certifier, Function
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.composition.smoothing import Denoised, OneStep, Smoothed, lower_bound, noisy, smoothing
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.defenses.transforms.simple import GaussianBlur, GaussianNoise


class HalfSpace(nn.Module):
    """Linear classifier of images [N,1,4,4] that predicts class 1 where w·x > b."""

    def __init__(self, w: Tensor, b: float):
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.w - self.b
        return torch.stack([-score, score], 1)


def test_certified_radius_does_not_exceed_the_true_radius_of_a_linear_classifier():
    """The smoothed prediction of a half-space changes exactly at its boundary, so the true radius is |w·x - b| / |w|.

    Each certificate is wrong with probability 0.001, so a run of 100 has a wrong one with a probability of about 0.1;
    the fixed seeds have none. With 1,000 draws most radii exceed half of the largest one that can be certified. The
    noise is so small that no pixel is clamped to [0,1].
    """
    generator, sigma = torch.Generator().manual_seed(0), 0.05
    ratios = []
    for number in range(100):
        w = torch.randn(16, generator=generator)
        x = torch.full((1, 1, 4, 4), 0.5)
        true = 0.1 * float(torch.rand((), generator=generator)) + 0.005
        defense = Smoothed(
            HalfSpace(w, float(x.flatten() @ w - true * w.norm())), GaussianNoise(sigma), sigma=sigma, draws=4
        )
        with seeded("certify", str(number)):
            proof = defense.certify(x, n0=50, n=1000, alpha=0.001, batch=DeviceBatch(512))
        radius = float(proof.radii)
        assert radius <= true
        assert int(proof.classes) in ((1,) if radius else (1, -1))
        assert proof.passes == 1050
        ratios.append(radius / min(true, sigma * norm.ppf(0.001**0.001)))
    assert sum(ratio > 0.5 for ratio in ratios) > 80


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (10, 10), (990, 1000)])
def test_lower_bound_is_the_clopper_pearson_bound(successes, n):
    low = lower_bound(successes, n, 0.001)
    assert low == 0 if successes == 0 else binom.sf(successes - 1, n, low) == pytest.approx(0.001, rel=1e-6)


def test_certify_abstains_if_no_class_has_a_majority():
    def toss(x: Tensor) -> Tensor:
        return torch.rand(len(x), 3)

    defense = Smoothed(toss, GaussianNoise(0.1), sigma=0.1, draws=4)  # type: ignore[arg-type]
    proof = defense.certify(torch.rand(3, 1, 4, 4), n0=20, n=200, alpha=0.001, batch=DeviceBatch(64))
    assert proof.classes.tolist() == [-1] * 3
    assert proof.radii.tolist() == [0.0] * 3


def test_smoothing_is_a_certifier_that_predicts_by_vote():
    defense = smoothing(sigma=0.1, draws=6, classifier=HalfSpace(torch.ones(16), 8.0))
    assert isinstance(defense, Certifier)
    assert (defense.random, defense.passes) == (True, 6)
    assert defense.purify(torch.rand(2, 1, 4, 4)).shape == (2, 6, 1, 4, 4)
    assert defense(torch.full((2, 1, 4, 4), 0.9)).argmax(1).tolist() == [1, 1]


class PerfectPredictor(nn.Module):
    """Perfect noise predictor for the given image; records the requested timesteps."""

    def __init__(self, image: Tensor):
        super().__init__()
        self.image = image
        self.asked: list[int] = []

    def forward(self, state: Tensor, t: Tensor) -> Tensor:
        self.asked += t.tolist()
        level = noise_levels()[t][:, None, None, None]
        return (state - level.sqrt() * (2 * self.image - 1)) / (1 - level).sqrt()


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.25, 0.5])
def test_one_step_uses_the_timestep_of_sigma_and_a_perfect_network_recovers_the_image(sigma):
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = PerfectPredictor(image)
    found = OneStep(network, sigma)(image.expand(3, -1, -1, -1))
    assert torch.allclose(found, image.expand(3, -1, -1, -1), atol=1e-4)
    level = float(noise_levels()[network.asked[0]])
    assert ((1 - level) / level) ** 0.5 / 2 == pytest.approx(sigma, rel=0.02)
    assert set(network.asked) == {OneStep(network, sigma).top}


def test_network_input_has_the_mean_and_deviation_of_its_timestep():
    seen = []

    class Blank(nn.Module):
        def forward(self, state: Tensor, t: Tensor) -> Tensor:
            seen.append((state, noise_levels()[t[0]]))
            return torch.zeros_like(state)

    torch.manual_seed(0)
    OneStep(Blank(), 0.25)(torch.full((4, 1, 64, 64), 0.75))
    ((state, level),) = seen
    assert float(state.mean()) == pytest.approx(0.5 * float(level.sqrt()), abs=0.02)
    assert float(state.std()) == pytest.approx(float((1 - level).sqrt()), rel=0.02)


def test_one_step_gradient_matches_finite_differences(gradient_error):
    class Nonlinear(nn.Module):
        def forward(self, state: Tensor, t: Tensor) -> Tensor:
            return 0.3 * torch.tanh(state) * (1 + t[:, None, None, None] / 1000)

    x = 0.3 + 0.4 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient, error = gradient_error(OneStep(Nonlinear(), 0.02), x, "step")
    assert error < 1e-6
    assert float(gradient.abs().max()) > 0


def test_any_purifier_is_accepted_as_denoiser_with_exact_gradients(gradient_error):
    x = 0.2 + 0.6 * torch.rand(2, 1, 8, 8, dtype=torch.float64)
    made = noisy(0.05, "gaussian-blur(sigma=0.8)", nn.Identity())
    with seeded("denoise"):
        found = made(x)
    with seeded("denoise"):
        assert torch.equal(found, GaussianBlur(0.8)(GaussianNoise(0.05)(x)))
    assert gradient_error(made, x, "same")[1] < 1e-6
    assert made.surrogate(x).shape == x.shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, r"smoothing: sigma: expected a number in \(0,1000000\], but got 0.0"),
        ({"draws": 0}, "smoothing: draws: expected a whole number of at least 1, but got 0"),
        ({"denoiser": "smoothing"}, "expected denoiser"),
        ({"denoiser": "gaussian-blurr"}, "gaussian-blur"),
    ],
)
def test_invalid_parameters_are_rejected(settings, message):
    with pytest.raises(PurebenchError, match=message):
        smoothing(classifier=HalfSpace(torch.ones(16), 8.0), **settings)


def test_sigma_above_the_networks_maximum_is_rejected():
    with pytest.raises(PurebenchError, match="expected sigma up to the network's 78"):
        OneStep(nn.Identity(), 900.0)


def test_surrogate_of_denoised_is_that_of_its_denoiser():
    stand_in = Function(torch.round, random=False, surrogate=lambda x: 2 * x)
    x = torch.full((1, 1, 4, 4), 0.5)
    with seeded("surrogate"):
        found = Denoised(0.1, stand_in).surrogate(x)
    with seeded("surrogate"):
        assert torch.equal(found, 2 * GaussianNoise(0.1)(x))


def test_draws_that_share_a_choice_within_a_call_are_certified_one_call_a_draw():
    """A coin per call, right with probability 1/2: Clopper and Pearson would certify it if a call had many draws."""

    def coin(x: Tensor) -> Tensor:
        side = (torch.rand(()) < 0.5).float()
        return torch.stack([side, 1 - side]).expand(len(x), 2)

    defense = Smoothed(coin, GaussianNoise(0.1), sigma=0.1, draws=4)  # type: ignore[arg-type]
    x, batch = torch.rand(20, 1, 4, 4), DeviceBatch(64)
    with seeded("coin"):
        assert (defense.certify(x, n0=20, n=60, alpha=0.001, batch=batch).classes >= 0).any()
    defense.shares_draws = True
    with seeded("coin"):
        assert defense.certify(x, n0=20, n=60, alpha=0.001, batch=batch).classes.tolist() == [-1] * 20
