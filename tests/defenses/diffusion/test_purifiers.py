"""The diffusion purifiers beside DiffPure: their gradients, their memory, what they become in the limit, bad values."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from purebench.attacks.views.gradient_modes import bpda
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood import LikelihoodMaximisation
from purebench.defenses.diffusion.sampling import denoise, diffuse, ladder, reverse_step, seeded_noise
from purebench.defenses.diffusion.sde import DiffPureSDE
from purebench.defenses.diffusion.unet import noise_levels

MAKE = {
    "ddpm": lambda network, **more: DiffPure(network, t=60, steps=5, **more),
    "ddim": lambda network, **more: DiffPure(network, t=60, steps=5, sampler="ddim", **more),
    "gradual": lambda network, **more: GradualNoise(network, schedule=(10, 20, 60), steps=2, **more),
    "gdmp": lambda network, **more: GDMP(network, t=60, steps=3, rounds=2, **more),
    "likelihood": lambda network, **more: LikelihoodMaximisation(network, t=200, draws=2, steps=3, **more),
    "sde": lambda network, **more: DiffPureSDE(network, t=0.1, steps=6, **more),
}
EACH = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


class Smooth(nn.Module):
    """A small smooth noise predictor that looks at its neighbours and at the time."""

    def __init__(self, depth: int = 1):
        super().__init__()
        with seeded("smooth"):
            self.first, self.last = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 1, 3, padding=1)
            self.hidden = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(depth))

    def forward(self, x, t):
        state = torch.tanh(self.first(x) + (t.to(x.dtype) / 500).sin().view(-1, 1, 1, 1))
        for layer in self.hidden:
            state = torch.tanh(layer(state))
        return self.last(state)


class Gaussian(nn.Module):
    """The perfect noise predictor of images whose values are independent and normal, in the units of [-1,1]."""

    def __init__(self, mean: float, deviation: float):
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, x, t):
        level = noise_levels().to(x)[t.long()].view(-1, 1, 1, 1)
        variance = level * self.deviation**2 + 1 - level
        return (1 - level).sqrt() * (x - level.sqrt() * self.mean) / variance


class Kept:
    """A tensor saved for the backward pass."""

    def __init__(self, t):
        self.t = t


@pytest.fixture
def network() -> Smooth:
    return Smooth().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def answer(purifier, images, words="purifiers"):
    with seeded(words):
        return purifier(images)


@EACH
@pytest.mark.parametrize(("dtype", "bar", "step"), [(torch.float64, 1e-5, 1e-5), (torch.float32, 1e-2, 1e-2)], ids=str)
@pytest.mark.parametrize("checkpointed", [True, False])
def test_the_gradient_is_exact(make, network, x, dtype, bar, step, checkpointed, gradient_error):
    purifier = make(network.to(dtype), checkpointed=checkpointed).to(dtype)
    gradient, error = gradient_error(purifier, x[:2].to(dtype), "gradient", step)
    assert gradient.abs().max() > 1e-3
    assert error <= bar


@EACH
def test_checkpointing_changes_no_gradient_whatever_happens_before_the_backward_pass(make, network, x):
    gradients = []
    for checkpointed in (True, False):
        asked = x.clone().requires_grad_()
        purified = answer(make(network, checkpointed=checkpointed), asked)
        torch.randn(17)  # the generators have moved on when the noise is replayed
        gradients.append(torch.autograd.grad(purified.square().sum(), asked)[0])
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7)


@EACH
def test_a_gradient_asked_for_changes_no_value(make, network, x):
    with torch.no_grad():
        plain = answer(make(network), x)
    assert torch.allclose(answer(make(network), x.clone().requires_grad_()), plain, atol=1e-6)
    assert plain.min() >= 0
    assert plain.max() <= 1


@EACH
def test_the_seed_decides_the_result(make, network, x):
    purifier = make(network)
    assert purifier.random is True
    assert torch.equal(answer(purifier, x, "a"), answer(purifier, x, "a"))
    assert not torch.allclose(answer(purifier, x, "a"), answer(purifier, x, "b"), atol=1e-4)


@EACH
def test_images_stay_apart(make, network, x, assert_images_stay_apart):
    assert_images_stay_apart(lambda images: make(network)(images) + 0 * images, x)


LONG = {
    "gradual": (lambda network, n, kept: GradualNoise(network, schedule=(9,) * n, steps=1, checkpointed=kept), 2, 1),
    "gdmp": (lambda network, n, kept: GDMP(network, t=100, steps=n, rounds=1, checkpointed=kept), 1, 2),
    "likelihood": (lambda network, n, kept: LikelihoodMaximisation(network, steps=n, checkpointed=kept), 1, 3),
    "sde": (lambda network, n, kept: DiffPureSDE(network, steps=n, checkpointed=kept), 1, 1),
    "adjoint": (
        lambda network, n, kept: DiffPureSDE(
            network, steps=n, gradient="adjoint" if kept else "exact", checkpointed=False
        ),
        1,
        0,
    ),
}


@pytest.mark.parametrize(("make", "states", "images"), LONG.values(), ids=LONG)
def test_what_the_forward_pass_keeps_is_a_state_a_step_whatever_the_network(make, states, images):
    """`states` are kept a step, of `images` images each; the adjoint keeps none."""

    def kept_bytes(steps, depth, checkpointed):
        asked = torch.full((2, 1, 8, 8), 0.5, requires_grad=True)
        purifier = make(Smooth(depth).requires_grad_(False), steps, checkpointed)
        saved = weakref.WeakSet()  # a step may differentiate inside, and let go of it
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.add(kept := Kept(t)) or kept, lambda kept: kept.t
        ):
            purified = purifier(asked)
        total = sum(kept.t.nbytes for kept in saved)
        assert purified.requires_grad
        return total

    growth = (kept_bytes(12, 1, True) - kept_bytes(4, 1, True)) / 8
    image = 2 * 8 * 8 * 4
    assert growth <= states * images * image + 64
    assert kept_bytes(8, 6, True) == kept_bytes(8, 1, True)
    # without checkpointing both grow: this is what the test would see
    assert (kept_bytes(12, 1, False) - kept_bytes(4, 1, False)) / 8 > 5 * image
    assert kept_bytes(8, 6, False) > 1.5 * kept_bytes(8, 1, False)


def test_one_run_of_the_gradual_schedule_is_diffpure_and_more_are_diffpure_again(network, x):
    one = GradualNoise(network, schedule=(90,), steps=4)
    assert torch.equal(answer(one, x), answer(DiffPure(network, t=90, steps=4), x))
    two = GradualNoise(network, schedule=(40, 90), steps=4)
    with seeded("purifiers"):
        twice = DiffPure(network, t=90, steps=4)(DiffPure(network, t=40, steps=4)(x))
    assert torch.allclose(answer(two, x), twice, atol=1e-6)


def test_guidance_is_the_scaled_gradient_of_the_distance_times_the_variance(network, x):
    """A step of GDMP against autograd, with s_t and DDPM's variance written anew."""
    eps, scale, levels = 0.05, 0.3, noise_levels()
    purifier = GDMP(network, t=100, steps=4, eps=eps, scale=scale)
    now, then = purifier.times[:2]
    state, image = 2 * x.flip(0) - 1, 2 * x - 1
    there = diffuse(image, levels[now], seeded_noise(image, 2))
    leaf = state.clone().requires_grad_()
    (slope,) = torch.autograd.grad(-(leaf - there).square().sum(), leaf)
    a, b = float(levels[now]), float(levels[then])
    strength = scale * 3 * (1 - a) ** 0.5 / (2 * eps * a**0.5)
    variance = (1 - a / b) * (1 - b) / (1 - a)
    plain = reverse_step(state, network(state, now.expand(4)), levels[now], levels[then], seeded_noise(state, 1))
    both = purifier.step(torch.cat([state, image], 1), now, then, (1, 2))
    assert torch.allclose(both[:, :1], plain + variance * strength * slope, atol=1e-5)
    assert torch.equal(both[:, 1:], image)
    assert (variance * strength * slope).abs().max() > 0.05


def test_the_stronger_the_guidance_the_nearer_to_the_input(network, x):
    far = [float((answer(GDMP(network, scale=scale), x) - x).square().mean()) for scale in (0.0, 0.3, 1.0)]
    assert far[0] > far[1] > far[2]


def test_guidance_of_none_leaves_ddpm(network, x):
    unguided = GDMP(network, t=80, steps=3, rounds=1, scale=0.0)
    with seeded("purifiers"):
        seeds = torch.randint(2**62, (7,)).tolist()
    levels, times = torch.cat([noise_levels(), torch.ones(1)]), ladder(80, 3)
    state = diffuse(2 * x - 1, levels[times[0]], seeded_noise(x, seeds[0]))
    for now, then, seed in zip(times[:-1], times[1:], seeds[1::2], strict=True):
        predicted = network(state, now.expand(4))
        state = reverse_step(state, predicted, levels[now], levels[then], seeded_noise(x, seed))
    assert torch.allclose(answer(unguided, x), (state + 1) / 2, atol=1e-6)


def test_the_bound_and_its_slope_are_those_of_a_gaussian(x):
    """The error is linear in the image where the data are normal: the slope is known, draw by draw."""
    mean, deviation = 0.2, 0.4
    purifier = LikelihoodMaximisation(Gaussian(mean, deviation), t=300, draws=1)
    times: list[int] = []
    predict = purifier.predict
    purifier.predict = lambda state, t: times.append(int(t)) or predict(state, t)
    asked = x.clone().requires_grad_()
    value = purifier.bound(asked, 5)
    (slope,) = torch.autograd.grad(value.sum(), asked)
    generator = torch.Generator().manual_seed(5)
    torch.rand(1, generator=generator)  # where in its share the timestep lies
    noise = seeded_noise(x, int(torch.randint(2**62, (1,), generator=generator)))
    level = float(noise_levels()[times[0]])
    variance = level * deviation**2 + 1 - level
    state = level**0.5 * (2 * x - 1) + (1 - level) ** 0.5 * noise
    error = (1 - level) ** 0.5 * (state - level**0.5 * mean) / variance - noise
    assert torch.allclose(value, -error.square().sum((1, 2, 3)), rtol=1e-4)
    expected = -2 * error * (1 - level) ** 0.5 * level**0.5 / variance * 2
    assert torch.allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_likelihood_is_climbed_inside_the_ball(x):
    """Images whose values are too high for the model come down towards its mean, as far as the ball lets them."""
    network = Gaussian(mean=-0.4, deviation=0.1)
    near = answer(LikelihoodMaximisation(network, draws=8, steps=6, radius=0.5, rate=0.02), x)
    distance = [(images - 0.3).square().mean() for images in (x, near)]
    assert distance[1] < 0.6 * distance[0]
    for signed in (False, True):
        held = answer(LikelihoodMaximisation(network, steps=6, rate=0.05, radius=0.03, signed=signed), x)
        assert (held - x).abs().max() <= 0.03 + 1e-6
        assert (held - x).abs().max() > 0.0299


def test_the_sign_passes_the_gradient_as_the_identity(network, x):
    asked = x.clone().requires_grad_()
    purified = answer(LikelihoodMaximisation(network, signed=True), asked)
    assert torch.allclose(torch.autograd.grad(purified.sum(), asked)[0], torch.ones_like(x))


def test_the_denoiser_is_the_posterior_mean_of_a_draw(network, x):
    for make in MAKE.values():
        purifier = make(network, surrogate="denoiser")
        assert make(network).surrogate(x) is x
        with seeded("surrogate"):
            (seed,) = torch.randint(2**62, (1,)).tolist()
        level = noise_levels()[purifier.top]
        state = diffuse(2 * x - 1, level, seeded_noise(x, seed))
        origin = denoise(state, network(state, torch.full((4,), purifier.top)), level)
        with seeded("surrogate"):
            shown = purifier.surrogate(x.requires_grad_())
        assert torch.allclose(shown, (origin + 1) / 2, atol=1e-6)
        (slope,) = torch.autograd.grad(shown.sum(), x)
        assert (slope - 1).abs().max() > 1e-3
        x = x.detach()


@EACH
def test_bpda_differentiates_the_denoiser_at_what_the_purifier_gives(make, network, x):
    """Forward the whole purifier; backward the classifier's slope there, through a denoising step of its own."""
    purifier = make(network, surrogate="denoiser")
    layer = nn.Linear(64, 3).requires_grad_(False)
    classifier, y = nn.Sequential(nn.Flatten(), nn.Tanh(), layer), torch.tensor([0, 1, 2, 0])
    view = bpda(as_defense(purifier, classifier))
    with seeded("bpda"):
        look = view.look(x, y, lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="none"))
    leaf = x.clone().requires_grad_()
    with seeded("bpda"):
        with torch.no_grad():
            purified = purifier(x)
        shown = purifier.surrogate(leaf)
    at = purified.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(classifier(at), y, reduction="sum"), at)
    (expected,) = torch.autograd.grad(shown, leaf, slope)
    assert torch.allclose(look.logits[:, 0], classifier(purified), atol=1e-6)
    assert torch.allclose(look.gradient, expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(look.gradient, slope, rtol=0.1), "the identity would have done"


def test_the_surrogate_leaves_the_forward_pass_alone(network, x):
    for make in MAKE.values():
        assert torch.equal(answer(make(network), x), answer(make(network, surrogate="denoiser"), x))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (DiffPure, {"surrogate": "twin"}, "expected identity or denoiser, but got 'twin'"),
        (GradualNoise, {"schedule": (50, 30)}, "expected a rising schedule"),
        (GradualNoise, {"schedule": ()}, "expected a rising schedule"),
        (GradualNoise, {"schedule": (5, 9), "steps": 6}, "whole steps in 1..its first"),
        (GDMP, {"rounds": 0}, "rounds from 1, but got t=100, steps=4, rounds=0"),
        (GDMP, {"t": 0}, "expected whole t in 1..1000"),
        (GDMP, {"eps": 0}, "expected eps in"),
        (GDMP, {"scale": float("nan")}, "scale from 0"),
        (LikelihoodMaximisation, {"draws": 0}, "draws in 1..t"),
        (LikelihoodMaximisation, {"radius": -1}, "rate and radius in"),
        (LikelihoodMaximisation, {"momentum": 1.0}, "momentum in"),
        (DiffPureSDE, {"gradient": "reverse"}, "expected gradient exact or adjoint, but got gradient=reverse"),
        (DiffPureSDE, {"t": 0}, r"expected t in \[0.001,1\]"),
        (DiffPureSDE, {"steps": 0}, "whole steps from 1"),
        (DiffPureSDE, {"first": 2, "last": 1}, "0 < first <= last"),
    ],
)
def test_bad_values_are_named(network, make, options, message):
    with pytest.raises(PurebenchError, match=message):
        make(network, **options)
