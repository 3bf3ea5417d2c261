"""Fixtures that check gradients against finite differences and that images of a batch are independent."""

from __future__ import annotations

import pytest
import torch

from purebench.core.seeds import seeded


@pytest.fixture
def gradient_error():
    """Return a function (purify, x, seed) that compares the exact gradient with central differences.

    The function returns the gradient of a weighted sum of the purified images and its largest error along random
    directions, relative to the norm of the gradient. Every evaluation draws the noise of the same seed.
    """

    def compare(purify, x: torch.Tensor, seed: str, step: float = 1e-5) -> tuple[torch.Tensor, float]:
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(x.shape, generator=generator, dtype=x.dtype)

        def value(images: torch.Tensor) -> torch.Tensor:
            with seeded(seed):
                return (weights * purify(images)).sum()

        asked = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(asked), asked)
        errors = []
        for _ in range(6):
            direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            direction /= direction.norm()
            with torch.no_grad():
                slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
            errors.append(float((slope - (gradient * direction).sum()).abs() / gradient.norm()))
        return gradient, max(errors)

    return compare


@pytest.fixture
def assert_images_are_independent():
    """Return a function that asserts that no image of a batch influences the result or gradient of another."""

    def check(purify, x: torch.Tensor) -> None:
        def answer(images: torch.Tensor) -> torch.Tensor:
            with seeded("leak"):
                return purify(images)

        before = answer(x)
        changed = x.clone()
        changed[1] *= 0.2
        after = answer(changed)
        others = [0, *range(2, len(x))]
        assert torch.allclose(after[others], before[others], atol=1e-6)
        assert (after[1] - before[1]).abs().max() > 1e-4
        swapped = answer(x[[0, 2, 1, *range(3, len(x))]])
        assert torch.allclose(swapped[[0, *range(3, len(x))]], before[[0, *range(3, len(x))]], atol=1e-6)
        asked = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(answer(asked)[1].square().sum(), asked)
        assert gradient[1].abs().max() > 0
        assert gradient[others].abs().max() == 0

    return check


@pytest.fixture
def assert_seeded_independent_and_exact(assert_images_are_independent, gradient_error):
    """Return a function that asserts that a random purifier is seeded, independent per image and differentiable."""

    def check(purifier, x: torch.Tensor) -> None:
        answers = []
        for words in ("a", "a", "b"):
            with seeded(words):
                answers.append(purifier(x))
        assert purifier.random
        assert torch.equal(answers[0], answers[1])
        assert not torch.allclose(answers[0], answers[2], atol=1e-3)
        assert_images_are_independent(purifier, x)
        gradient, error = gradient_error(purifier.double(), x.double(), "gradient")
        assert gradient.abs().max() > 1e-6
        assert error <= 1e-5

    return check
