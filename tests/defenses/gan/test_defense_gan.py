"""Tests Defense-GAN, on a linear generator against least squares and the closed form of its gradient."""

from __future__ import annotations

import pytest
import torch

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.gan.defense_gan import DefenseGAN, defense_gan
from purebench.defenses.gan.search_spaces import CodeSpace, ImageSpace, PriorSpace, normal_starts
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN

SHAPE, LENGTH = (1, 4, 4), 5


class Linear(ImageSpace):
    """Linear generator G(z) = matrix·z + 0.5 with normal starting points."""

    def __init__(self, *, restarts=1, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        matrix = torch.linalg.qr(torch.randn(16, LENGTH, generator=generator, dtype=torch.float64)).Q
        scales = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6], dtype=torch.float64)
        self.register_buffer("matrix", 0.5 * matrix * scales)
        self.restarts, self.seed, self.random = restarts, seed, seed is None

    def starts(self, x):
        return normal_starts(x, self.restarts, LENGTH, self.seed)

    def forward(self, code):
        return (code @ self.matrix.T + 0.5).view(-1, *SHAPE)


class Nonlinear(Linear):
    """Smooth nonlinear generator."""

    def forward(self, code):
        return torch.sigmoid(3 * (code @ self.matrix.T).view(-1, *SHAPE))


class TwoWells(ImageSpace):
    """Generator G(z) = z² with the starting points -0.5 and 2."""

    def starts(self, x):
        return torch.tensor([[-0.5], [2.0]], dtype=x.dtype).expand(len(x), -1, -1)

    def forward(self, code):
        return code.square().view(-1, 1, 1, 1)


def images(count=3):
    drawn = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 0.4 + 0.2 * drawn


def projector(matrix):
    return matrix @ torch.linalg.inv(matrix.T @ matrix) @ matrix.T


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_search_on_a_linear_generator_finds_the_least_squares_solution(restarts, momentum):
    space, x = Linear(restarts=restarts), images()
    found = DefenseGAN(space, steps=600, rate=10.0, momentum=momentum).search(x)
    expected = torch.linalg.lstsq(space.matrix, (x.flatten(1) - 0.5).T).solution.T
    assert torch.allclose(found, expected, atol=1e-6)


def test_jacobian_of_a_converged_search_is_the_projector():
    """The result is P·(x - 0.5) + 0.5 with the projector P onto the range of the generator; its Jacobian is P."""
    space, x = Linear(), images()
    purifier = DefenseGAN(space, steps=600, rate=10.0)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    asked = x.requires_grad_()
    (gradient,) = torch.autograd.grad((purifier(asked) * direction).sum(), asked)
    assert torch.allclose(gradient.flatten(1), direction.flatten(1) @ projector(space.matrix), atol=1e-6)


def test_steps_are_gradient_descent_with_momentum():
    """The steps are v ← momentum·v - rate·2/D·Gᵀ(Gz - x), z ← z + v."""
    space, x = Linear(), images()
    found = DefenseGAN(space, steps=4, rate=2.0, momentum=0.5).search(x)
    z, v = space.starts(x)[:, 0].clone(), torch.zeros(len(x), LENGTH, dtype=torch.float64)
    for _ in range(4):
        v = 0.5 * v - 2.0 * 2 / 16 * (z @ space.matrix.T + 0.5 - x.flatten(1)) @ space.matrix
        z = z + v
    assert torch.allclose(found, z)


def test_search_returns_the_best_restart_of_each_image():
    x = torch.tensor([0.2, 4.5], dtype=torch.float64).view(2, 1, 1, 1)
    found = DefenseGAN(TwoWells(), steps=1, rate=1e-4, momentum=0.0).search(x)[:, 0]
    assert torch.allclose(found, torch.tensor([-0.5, 2.0], dtype=torch.float64), atol=1e-2)


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("restarts", [1, 3])
def test_unrolled_gradient_matches_finite_differences(restarts, checkpointed, gradient_error):
    purifier = DefenseGAN(Nonlinear(restarts=restarts), steps=15, rate=3.0, checkpointed=checkpointed)
    gradient, error = gradient_error(purifier, images(), "gradient")
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-6


def test_checkpointing_does_not_change_the_gradient():
    gradients = []
    for checkpointed in (True, False):
        x = images().requires_grad_()
        purifier = DefenseGAN(Nonlinear(restarts=2), steps=10, checkpointed=checkpointed)
        gradients += torch.autograd.grad(purifier(x).square().sum(), x)
    assert torch.allclose(*gradients, rtol=1e-10)


@pytest.mark.parametrize("seed", [0, None])
def test_images_of_a_batch_do_not_influence_each_other(seed, assert_images_are_independent):
    assert_images_are_independent(DefenseGAN(Nonlinear(restarts=2, seed=seed), steps=5), images(4))


def test_starts_are_equal_for_all_images_with_a_seed_and_drawn_without_one():
    x = images()
    fixed = normal_starts(x, 2, 5, 3)
    assert torch.equal(fixed[0], fixed[2])
    assert torch.equal(fixed[:1], normal_starts(x[:1], 2, 5, 3))
    assert not torch.equal(fixed, normal_starts(x, 2, 5, 4))

    def answer(purifier, seed):
        with seeded(seed):
            return purifier(x)

    still, moving = (DefenseGAN(Nonlinear(restarts=2, seed=seed), steps=3) for seed in (0, None))
    assert (still.random, moving.random) == (False, True)
    assert torch.equal(answer(still, "a"), answer(still, "b"))
    assert torch.equal(answer(moving, "a"), answer(moving, "a"))
    assert not torch.allclose(answer(moving, "a"), answer(moving, "b"), atol=1e-6)


@pytest.fixture(scope="module")
def gan():
    with seeded("gan"):
        return (
            SmallStyleGAN(size=16, dim=6, channels={4: 8, 8: 8, 16: 4}, widths=(8, 6, 4)).eval().requires_grad_(False)
        )


def test_search_spaces_decode_like_the_model(gan):
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    prior = PriorSpace(gan, restarts=3, seed=0)
    starts = prior.starts(x)
    assert starts.shape == (2, 3, 6)
    w = gan.decoder.mapping(starts[0])
    assert torch.allclose(prior(starts[0]), gan.decode(w[:, None].expand(-1, gan.latents, -1)))
    encoder, mean = CodeSpace(gan, start="encoder"), CodeSpace(gan, start="mean")
    assert torch.allclose(encoder(encoder.starts(x)[:, 0]), gan.decode(gan.encode(x)))
    many = gan.decoder.mapping(torch.randn(20000, 6, generator=torch.Generator().manual_seed(1)))
    middle = mean.starts(x)[1, 0].view(gan.latents, 6)
    assert torch.allclose(middle, many.mean(0).expand(gan.latents, -1), atol=6 * float(many.std()) / 4096**0.5)


def test_more_steps_reduce_the_reconstruction_error(gan):
    with seeded("codes"), torch.no_grad():
        x = gan.decode(gan.decoder.mapping(torch.randn(12, 6)).view(2, gan.latents, 6)).clamp(0.05, 0.95)
    space = CodeSpace(gan, start="mean")
    errors = []
    for steps in (1, 10, 60):
        purifier = DefenseGAN(space, steps=steps, rate=1.0)
        errors.append(purifier.error(purifier.search(x), x).mean())
    assert errors[0] > errors[1] > errors[2]


def test_surrogate_is_the_autoencoder_or_the_identity():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    purifier = defense_gan()
    model = purifier.space.model
    assert torch.equal(purifier.surrogate(x), model.decode(model.encode(x)).clamp(0, 1))
    assert torch.equal(defense_gan(surrogate="identity").surrogate(x), x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "w"}, "space z or w+"),
        ({"surrogate": "decoder"}, "surrogate identity or encoder"),
        ({"start": "zero"}, "start mean or encoder"),
        ({"restarts": 3}, "restarts from 1, of z alone"),
        ({"space": "z", "restarts": 0}, "restarts from 1"),
        ({"steps": 0}, "steps from 1"),
        ({"rate": 0.0}, "rate above 0"),
        ({"momentum": 1.0}, r"momentum in \[0,1\)"),
    ],
)
def test_values_out_of_range_are_rejected_with_the_expected_range(options, words):
    with pytest.raises(PurebenchError, match=words):
        defense_gan(**options)
