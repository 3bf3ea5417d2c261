"""Tests median, total variation and random resizing against closed forms, SciPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.transforms.filters import Median, ResizePad, TotalVariation

X = torch.rand(4, 2, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PURIFIERS = {
    "median": Median(3),
    "tv": TotalVariation(0.1, 20, 1.0),
    "tv, some pixels": TotalVariation(0.1, 20, 0.7),
    "resize-pad": ResizePad(0.7),
}


@pytest.mark.parametrize("size", [3, 5])
def test_median_agrees_with_scipy(size):
    expected = median_filter(X.numpy(), size=(1, 1, size, size), mode="mirror")
    assert np.array_equal(Median(size)(X).numpy(), expected)


def objective(u: Tensor, x: Tensor, weight: float, smooth: float) -> Tensor:
    down = torch.zeros_like(u)
    right = torch.zeros_like(u)
    down[:, :, :-1] = u[:, :, 1:] - u[:, :, :-1]
    right[..., :-1] = u[..., 1:] - u[..., :-1]
    return 0.5 * (u - x).square().sum() + weight * (down**2 + right**2 + smooth**2).sqrt().sum()


def test_slope_is_the_gradient_of_the_total_variation():
    purifier, u = TotalVariation(0.3, 1, 1.0), X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(objective(u, X, 0.3, purifier.smooth), u)
    assert torch.allclose(0.3 * purifier.slope(X), expected, atol=1e-12)


def test_many_steps_reach_the_minimum_found_by_lbfgs():
    purifier, u = TotalVariation(0.2, 3000, 1.0), X.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([u], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective(u, X, 0.2, purifier.smooth)
        value.backward()
        return value

    optimiser.step(closure)
    assert torch.allclose(purifier(X), u.detach().clamp(0, 1), atol=1e-4)
    assert float(objective(purifier(X), X, 0.2, 0.03)) < float(objective(X, X, 0.2, 0.03))


def test_dropped_pixels_are_restored_from_their_neighbours():
    flat = torch.full((2, 1, 16, 16), 0.6, dtype=torch.float64)
    with seeded("drop"):
        found = TotalVariation(0.05, 600, 0.5)(flat)
    assert float((found - 0.6).abs().max()) < 0.03


def test_resize_pad_draws_uniform_sizes_and_keeps_images_at_full_size():
    ones = torch.ones(200, 1, 16, 16, dtype=torch.float64)
    with seeded("sizes"):
        share = ResizePad(0.5)(ones).mean((1, 2, 3))
    side = share.sqrt()  # a square of ones whose side is uniform in [0.5, 1]
    assert 0.49 < float(side.min()) < 0.55
    assert 0.95 < float(side.max()) < 1.01
    assert float(side.mean()) == pytest.approx(0.75, abs=3 * (0.5 / 12**0.5) / 200**0.5)
    with seeded("sizes"):
        kept = ResizePad(1 - 1e-9)(X)
    assert torch.allclose(kept, X, atol=1e-6)


@pytest.mark.parametrize("name", PURIFIERS)
def test_exact_gradients_match_finite_differences(name):
    purifier, x = PURIFIERS[name], X.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for _ in range(2))

    def value(at: Tensor) -> Tensor:
        with seeded("same"):
            return (purifier(at) * one).sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    step = 1e-6
    expected = float(value(x.detach() + step * other) - value(x.detach() - step * other)) / (2 * step)
    assert float((gradient * other).sum()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", PURIFIERS)
def test_purifiers_are_random_only_if_declared_and_depend_on_the_seed(name):
    found = []
    for seed in ("one", "one", "two"):
        with seeded(seed):
            found.append(PURIFIERS[name](X))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) != PURIFIERS[name].random
    assert found[0].shape == X.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Median(4), "median: size: expected an odd whole number of at least 3, but got 4"),
        (lambda: Median(True), "median: size: expected an odd whole number of at least 3, but got True"),
        (
            lambda: TotalVariation(0.0, 5, 1.0),
            r"tv-minimisation: weight: expected a number in \(0,1000000\], but",
        ),
        (
            lambda: TotalVariation(0.1, 0, 1.0),
            "tv-minimisation: steps: expected a whole number of at least 1, but",
        ),
        (lambda: TotalVariation(0.1, 5, 1.2), r"tv-minimisation: keep: expected a number in \(0,1\], but got 1.2"),
        (lambda: ResizePad(1.0), r"random-resize-pad: smallest: expected a number in \(0,1\), but got 1.0"),
    ],
)
def test_invalid_parameters_are_rejected(make, message):
    with pytest.raises(PurebenchError, match=message):
        make()
