"""Tests that the published purifiers equal slow re-computations from their papers and releases."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import slow_procedures as slow
import torch
from torch import nn

from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.freqpure import mixed
from purebench.defenses.diffusion.released.settings import procedure
from purebench.defenses.diffusion.sde_rules import RELEASED

LEE_KIM = [(30, 30)] * 4 + [(50, 50)] * 2


class Colours(nn.Module):
    """A smooth noise predictor of three colours, which keeps the timesteps that it is asked for."""

    def __init__(self):
        super().__init__()
        with seeded("colours"):
            self.layer, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.asked: list[float] = []

    def forward(self, x, t):
        self.asked.append(float(t[0]))
        time = (t.to(x.dtype) / 300).sin().view(-1, 1, 1, 1)
        return 0.9 * x + self.last(torch.tanh(self.layer(x) + time))


class Zero(nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x)


@pytest.fixture
def network():
    return Colours().requires_grad_(False)


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def purified(purifier, x, count, size=None):
    """Return what a purifier answers, and its noises in the order in which they are drawn, in float64."""
    like = x if size is None else x.new_empty(*x.shape[:2], size, size)
    with seeded("released"), torch.no_grad():
        found = purifier(x)
    with seeded("released"):
        seeds = torch.randint(2**62, (count,)).tolist()
    return found.double(), lambda number: seeded_noise(like, seeds[number]).double()


def in_double(network):
    """Return a network in float64 that is asked with one number for the whole batch."""
    exact = copy.deepcopy(network).double()

    def predict(state, label):
        with torch.no_grad():
            return exact(state, torch.full((len(state),), label, dtype=torch.float64))

    return predict


@pytest.mark.parametrize(
    ("name", "t", "timestep"),
    [
        ("diffpure/cifar10", 100, lambda tau: 1000 * float(tau) - 1),
        ("diffpure/cifar10-l2", 75, lambda tau: 1000 * float(tau) - 1),
        ("diffpure/imagenet", 150, lambda tau: math.floor(np.float32(1000) * tau)),
    ],
)
def test_diffpure_equals_the_released_solver(network, images, name, t, timestep):
    size = 12 if "imagenet" in name else None
    found, noise = purified(procedure(name, network, **({"size": size} if size else {})), images, t + 1, size)
    z = 2 * images.double() - 1
    if size:
        z = torch.nn.functional.interpolate(z, size=(size, size), mode="bilinear", align_corners=False)
    expected = slow.sde(z, in_double(network), noise, t, timestep)
    if size:
        expected = torch.nn.functional.interpolate(expected, size=(8, 8), mode="bilinear", align_corners=False)
    assert (found - expected).abs().max() <= 1e-4
    assert len(network.asked) == t
    assert size or found.min() < 0 or found.max() > 1, "the release does not clamp"


def test_diffpure_asks_the_network_for_the_released_labels(network, images):
    """999·tau for score_sde's network, which receives 0.999·(i + 1) for timestep i; whole timesteps for ImageNet's."""
    procedure("diffpure/cifar10", network)(images)
    assert [0.999 * (i + 1) for i in network.asked] == pytest.approx([99.9 - 0.999 * k for k in range(100)], abs=2e-3)
    for t, first in ((0.15, 149), (0.125, 125), (0.1, 100)):
        network.asked.clear()
        procedure("diffpure/imagenet", network, size=8, t=t, steps=round(1000 * t))(images)
        assert network.asked[0] == first
        assert all(label == int(label) for label in network.asked)


@pytest.mark.parametrize("t", [75, 100, 125, 150])
def test_times_of_the_steps_are_those_of_torchsde(t):
    import torchsde

    seen = []

    class Reverse(nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, clock, y):
            seen.append(float(1 - clock))
            return torch.zeros_like(y)

        def g(self, clock, y):
            return torch.zeros_like(y)

    torchsde.sdeint(Reverse(), torch.zeros(1, 1), torch.linspace(1 - t / 1000, 1 - 1e-5, 2), method="euler", dt=1e-3)
    times = RELEASED.times(t / 1000, t)
    assert times[:-1] == seen[1:]  # the first call only learns the shapes
    assert times[-1] == pytest.approx(1e-5, rel=0.05)


def test_variance_of_diffpure_without_a_score_follows_the_recursion():
    """The variance is that of the start, times each step's factor, plus each step's noise, the last one's included."""
    found, _ = purified(procedure("diffpure/cifar10", Zero()), torch.full((20, 3, 32, 32), 0.5), 101)
    taus = [(100 - k) / 1000 for k in range(100)]
    variance = 1 - slow.bar(99)
    for tau, after in zip(taus, [*taus[1:], 1e-5], strict=True):
        width = (0.1 + 19.9 * tau) * (tau - after)
        variance = (1 + width / 2) ** 2 * variance + width
    assert float((2 * found - 1).var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / found.numel()))
    quiet, _ = purified(procedure("diffpure/cifar10", Zero(), last_noise=False), torch.full((1, 3, 8, 8), 0.5), 101)
    loud, noise = purified(procedure("diffpure/cifar10", Zero()), torch.full((1, 3, 8, 8), 0.5), 101)
    assert float(((loud - quiet) * 2 / noise(100)).mean()) == pytest.approx(0.0109, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("ddpm-surrogate/cifar10", [(200, 5)]),
        ("gradual-noise/cifar10", [*LEE_KIM, (125, 125), (125, 125)]),
        ("gradual-noise/imagenet", [*LEE_KIM, (200, 200), (200, 200)]),
    ],
)
def test_gradual_noise_equals_the_released_runs(network, images, name, runs):
    more = {"size": 8} if "imagenet" in name else {}
    asked = sum(count for _, count in runs)
    found, noise = purified(procedure(name, network, **more), images, len(runs) + asked)
    expected = slow.gradual(2 * images.double() - 1, in_double(network), noise, runs)
    assert (found - expected).abs().max() <= 1e-4
    assert network.asked[0] == runs[0][0] - 1
    assert network.asked[-1] == runs[-1][0] // runs[-1][1] - 1
    assert len(network.asked) == asked
    assert found.min() < 0 or found.max() > 1, "nothing is clipped"


def test_gdmp_for_cifar10_equals_the_released_procedure(network, images):
    found, noise = purified(procedure("gdmp/cifar10", network), images, 4 * (2 * 37 - 1))
    assert (found - slow.gdmp_cifar10(2 * images.double() - 1, in_double(network), noise)).abs().max() <= 1e-4
    assert network.asked[:36] == list(range(35, -1, -1))
    assert len(network.asked) == 144


def test_gdmp_has_the_larger_variance_and_starts_one_level_above(network, images):
    purifier = procedure("gdmp/cifar10", network)
    assert float(purifier.level(purifier.start)) == pytest.approx(slow.bar(36), rel=1e-6)
    levels = purifier.level(torch.tensor(1)), purifier.level(torch.tensor(0))
    found = purifier.step_variance(*levels, purifier.floor(purifier.times), None)
    assert float(found) == pytest.approx(1.199e-4, rel=2e-3)
    with seeded("alone"):
        together = purifier.step(torch.cat([images, 1 - images], 1), torch.tensor(9), torch.tensor(8), (1, 2))
    many = torch.cat([images, images, images])
    with seeded("alone"):
        crowd = purifier.step(torch.cat([many, 1 - many], 1), torch.tensor(9), torch.tensor(8), (1, 2))
    assert torch.allclose(together[0], crowd[0], atol=1e-6), "the pull depends on the batch"


def test_learned_variance_of_the_last_step_is_that_of_the_step_before(network):
    """Its own posterior variance is zero, whose logarithm is infinite."""
    purifier = procedure("gdmp/cifar10", network)
    levels, floor = (purifier.level(torch.tensor(0)), purifier.level(torch.tensor(-1))), purifier.floor(purifier.times)
    assert float(floor) == pytest.approx(1.199e-4 * (1 - slow.bar(0)) / (1 - slow.bar(1)), rel=2e-3)
    small, large = (purifier.step_variance(*levels, floor, torch.full((1,), share)) for share in (0.0, 1.0))
    assert float(small) == pytest.approx(float(floor), rel=1e-5)
    assert float(large) == pytest.approx(1e-4, rel=1e-3)


def test_gdmp_for_imagenet_equals_the_released_procedure(images):
    with seeded("guided"):
        network = GuidedUNet(width=8, multiples=(1,), blocks=1, attended=(False,), head_width=8, groups=4).eval()
    network.requires_grad_(False)
    found, noise = purified(procedure("gdmp/imagenet", network, size=12), images, 91, 12)
    exact = copy.deepcopy(network).double()

    def outputs(state, label):
        return exact.outputs(state, torch.full((len(state),), label))

    expected = slow.gdmp_imagenet(2 * images.double() - 1, outputs, noise, 12)
    expected = torch.nn.functional.interpolate(expected, size=(8, 8), mode="bilinear", align_corners=False)
    assert (found - expected).abs().max() <= 1e-4


def test_freqpure_equals_the_released_procedure(network, images):
    runs = [(20, 5)] * 5 + [(50, 5)] * 5
    found, noise = purified(procedure("freqpure/cifar10", network), images, 10 + 2 * 50)
    expected = slow.freqpure(2 * images.double() - 1, in_double(network), noise, runs, 3)
    assert (found - expected).abs().max() <= 1e-4
    assert len(network.asked) == 100


@pytest.mark.parametrize("seed", range(3))
def test_low_frequencies_of_freqpure_are_all_or_only_the_mean_at_the_limits(seed):
    """At 32 pixels the largest frequency is 16·sqrt(2) = 22.6 periods, and the smallest but zero is 1."""
    generator = torch.Generator().manual_seed(seed)
    x, reference = (0.4 * torch.rand(2, 3, 32, 32, generator=generator) - 0.2 for _ in range(2))
    assert torch.allclose(mixed(x, reference, 23), reference, atol=1e-5)
    assert not torch.allclose(mixed(x, reference, 22), reference, atol=1e-4)
    means = [image.mean((2, 3), keepdim=True) for image in (x, reference)]
    assert torch.allclose(mixed(x, reference, 0), x - means[0] + means[1], atol=1e-5)
    assert torch.allclose(mixed(x, reference, 0.99), mixed(x, reference, 0))
    assert not torch.allclose(mixed(x, reference, 1), mixed(x, reference, 0), atol=1e-4)


def test_freqpure_returns_the_reference_where_all_frequencies_are_low(network, images):
    """The last step goes to the clean image, which is the predicted one, so its other frequencies are the network's."""
    settings = {"schedule": [20], "steps": 2}
    found, noise = purified(procedure("freqpure/cifar10", network, cutoff=23, **settings), images, 5)
    level = slow.bar(50)
    z, predict = 2 * images.double() - 1, in_double(network)
    noisy = level**0.5 * z + (1 - level) ** 0.5 * noise(4)
    reference = (noisy - (1 - level) ** 0.5 * predict(noisy, 50)) / level**0.5
    assert (found - (reference.clamp(-1, 1) + 1) / 2).abs().max() <= 1e-4


@pytest.fixture(scope="module")
def edm():
    with seeded("edm"):
        return EDM(size=8, width=8, multiples=(1, 2), blocks=1, attended=(False, True)).eval().requires_grad_(False)


def test_likelihood_maximisation_equals_adam(edm, images):
    purifier = procedure("likelihood-maximisation/iclr", edm)
    found, noise = purified(purifier, images, 5)
    with seeded("released"):
        seeds = torch.randint(2**62, (5,)).tolist()
    shares = [torch.rand(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    exact = copy.deepcopy(edm).double()
    sigmas = [0.4 + 0.2 * share for share in shares]
    expected = slow.adam(2 * images.double() - 1, exact.denoise, sigmas, [noise(step) for step in range(5)])
    assert (found - expected).abs().max() <= 1e-4


def test_first_step_of_adam_moves_every_value_by_the_rate(edm, images):
    purifier = procedure("likelihood-maximisation/iclr", edm)
    z = 2 * images - 1
    moved = purifier.step(torch.cat([z, torch.zeros_like(z), torch.zeros_like(z)], 1), 1, 3)[:, :3]
    assert torch.allclose((moved - z).abs(), torch.full_like(z, 0.1), atol=1e-3)


def test_five_steps_of_adam_move_a_value_by_a_quarter_at_most(edm):
    """In [0,1]. A step is at most 1.01 times the rate, if the gradients of all steps are equal; few values reach it."""
    x = 0.3 + 0.4 * torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with seeded("five"):
        moved = (procedure("likelihood-maximisation/iclr", edm)(x) - x).abs()
    assert 0.15 < moved.max() <= 0.253


def test_seeded_likelihood_maximisation_is_deterministic_as_released(edm, images):
    fixed = procedure("likelihood-maximisation/iclr", edm, seed=1)
    assert not fixed.random
    assert torch.equal(fixed(images), fixed(images))
    assert procedure("likelihood-maximisation/iclr", edm).random
    assert not torch.equal(fixed(images), procedure("likelihood-maximisation/iclr", edm, seed=2)(images))


@pytest.mark.parametrize("name", ["likelihood-maximisation/iclr", "freqpure/cifar10", "gdmp/cifar10"])
def test_gradient_matches_finite_differences(network, edm, name, gradient_error):
    net, more = (edm, {"steps": 3}) if "likelihood" in name else (network, {})
    net = copy.deepcopy(net).double()
    if "freqpure" in name:
        more = {"schedule": [20, 50], "steps": 2}
    if "gdmp" in name:
        more = {"t": 6, "steps": 3, "start": 7, "rounds": 2}
    x = 0.3 + 0.4 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient, error = gradient_error(procedure(name, net, **more).double(), x, "released", 1e-6)
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-4
