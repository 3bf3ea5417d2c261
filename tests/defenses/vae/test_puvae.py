"""Tests PuVAE on constructed decoders whose nearest projection is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.vae.puvae import ClassVAE, PuVAE, distances

CLASSES = 4


class Patterns(nn.Module):
    """Projects an image onto the line of each class's pattern; the nearest line has the largest cosine."""

    def __init__(self):
        super().__init__()
        drawn = torch.rand(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        self.register_buffer("patterns", drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1))

    def project(self, x, sampled):
        lengths = torch.einsum("nchw,kchw->nk", x, self.patterns)
        return lengths[:, :, None, None, None] * self.patterns


@pytest.fixture
def built():
    return PuVAE(Patterns())


@pytest.fixture
def x(built):
    """One image near each pattern."""
    noise = torch.randn(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return 3 * built.model.patterns + 0.05 * noise


@pytest.fixture
def trained_shape():
    with seeded("puvae"):
        model = ClassVAE(classes=3, width=4, z=5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return model.eval().requires_grad_(False)


def images(count=4):
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_distances_are_root_mean_squared_errors(x, built):
    projections = built.model.project(x, False)
    expected = torch.stack([(projections[:, k] - x).square().mean((1, 2, 3)).sqrt() for k in range(CLASSES)], 1)
    assert torch.allclose(distances(projections, x), expected, atol=1e-9)


def test_purifier_returns_the_projection_of_the_nearest_class(x, built):
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        found = built(x[order])
        patterns = built.model.patterns[order]
        lengths = (x[order] * patterns).sum((1, 2, 3), keepdim=True)
        assert torch.allclose(found, lengths * patterns)


def test_gradient_is_that_of_the_chosen_projection(x, built):
    """The derivative of pattern·⟨pattern, x⟩ along a direction is pattern·⟨pattern, direction⟩."""
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    _, moved = torch.autograd.functional.jvp(built, x, direction)
    patterns = built.model.patterns
    assert torch.allclose(moved, (direction * patterns).sum((1, 2, 3), keepdim=True) * patterns)


def test_surrogate_converges_to_the_choice_and_weights_near_projections_more(x, built):
    assert torch.allclose(PuVAE(built.model, temperature=1e-3).surrogate(x), built(x))
    mixed = built.surrogate(x)
    plain = built.model.project(x, False).mean(1)
    nearer = (mixed - built(x)).flatten(1).norm(dim=1)
    assert (nearer > 1e-3).all()
    assert (nearer < (plain - built(x)).flatten(1).norm(dim=1)).all()


def test_only_the_gradient_of_the_surrogate_leads_to_another_choice(built):
    """A step along the gradient of the surrogate changes the chosen class; the exact gradient is 0."""
    patterns = built.model.patterns
    start = (patterns[:1] + 0.5 * patterns[1:2]).requires_grad_()
    away = patterns[1:2] - (patterns[1:2] * patterns[:1]).sum() * patterns[:1]  # orthogonal to the choice

    def seen(image):
        return (image * away).sum()

    (exact,) = torch.autograd.grad(seen(built(start)), start)
    (smooth,) = torch.autograd.grad(seen(built.surrogate(start)), start)
    assert exact.abs().max() < 1e-9
    moved = start.detach() + 2 * smooth / smooth.norm()
    assert int(distances(built.model.project(start.detach(), False), start.detach()).argmin()) == 0
    assert int(distances(built.model.project(moved, False), moved).argmin()) != 0


@pytest.mark.parametrize("sampled", [False, True])
def test_images_of_a_batch_do_not_influence_each_other(trained_shape, sampled, assert_images_are_independent):
    purifier = PuVAE(trained_shape, sampled=sampled)
    assert_images_are_independent(purifier, images())
    assert_images_are_independent(purifier.surrogate, images())


def test_batches_agree_with_single_images(trained_shape):
    purifier = PuVAE(trained_shape)
    assert torch.allclose(purifier(images()), torch.cat([purifier(image[None]) for image in images()]), atol=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_gradient_matches_finite_differences(trained_shape, sampled, gradient_error):
    purifier = PuVAE(trained_shape.double(), sampled=sampled)
    gradient, error = gradient_error(purifier, images(2).double(), "gradient")
    assert gradient.abs().max() > 1e-6
    assert error <= 1e-5


def test_projections_decode_the_posterior_mean_given_each_class(trained_shape):
    model, x = trained_shape, images(2)
    found = model.project(x, False)
    assert found.shape == (2, 3, 1, 32, 32)
    for k in range(3):
        condition = torch.eye(3)[k].expand(2, -1)
        mean, _ = model.encode(model.features(2 * x - 1), condition)
        assert torch.allclose(found[:, k], model.decode(mean, condition), atol=1e-6)


def test_mean_is_deterministic_and_samples_depend_on_the_seed(trained_shape):
    mean, sampled = PuVAE(trained_shape), PuVAE(trained_shape, sampled=True)
    assert (mean.random, sampled.random) == (False, True)

    def answer(purifier, seed):
        with seeded(seed):
            return purifier(images())

    assert torch.equal(answer(mean, "a"), answer(mean, "b"))
    assert torch.equal(answer(sampled, "a"), answer(sampled, "a"))
    assert not torch.allclose(answer(sampled, "a"), answer(sampled, "b"), atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_invalid_temperatures_are_rejected(trained_shape, temperature):
    with pytest.raises(PurebenchError, match=r"puvae: temperature: expected a number in \(0,"):
        PuVAE(trained_shape, temperature=temperature)
