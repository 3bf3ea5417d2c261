"""Tests of norms against their definitions and of projections by their properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.core.norms.norms import NORMS
from purebench.core.threat import ThreatModel

SEEDS = st.integers(0, 2**31)
RADII = st.floats(1e-3, 2.0)
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}
DUALS = {"linf": 1, "l2": 2, "l1": torch.inf}


def perturbations(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(5, 2, 4, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS)
def test_size_is_the_vector_norm(name: str, seed: int) -> None:
    delta = perturbations(seed)
    expected = torch.linalg.vector_norm(delta.flatten(1), ord=ORDERS[name], dim=1)
    torch.testing.assert_close(NORMS[name].size(delta), expected)


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS, radius=RADII)
def test_projection_keeps_points_inside_the_ball(name: str, seed: int, radius: float) -> None:
    norm = NORMS[name]
    delta = perturbations(seed)
    inside = delta * (0.99 * radius / norm.size(delta)).view(-1, 1, 1, 1)
    torch.testing.assert_close(norm.project(inside, radius), inside, rtol=0, atol=0)


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS, radius=RADII)
def test_projection_moves_points_outside_the_ball_to_its_boundary(name: str, seed: int, radius: float) -> None:
    norm = NORMS[name]
    delta = perturbations(seed)
    outside = delta * (1.5 * radius / norm.size(delta)).view(-1, 1, 1, 1)
    projected = norm.project(outside, radius)
    torch.testing.assert_close(norm.size(projected), torch.full((5,), radius), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS, radius=RADII)
@settings(max_examples=30)
def test_projection_is_the_nearest_point(name: str, seed: int, radius: float) -> None:
    """No point of the ball is nearer in l2 than the projection."""
    norm = NORMS[name]
    delta = perturbations(seed, 3.0)
    gap = torch.linalg.vector_norm((delta - norm.project(delta, radius)).flatten(1), dim=1)
    torch.manual_seed(seed)
    for _ in range(20):
        other = norm.project(norm.project(delta, radius) + 0.3 * radius * norm.random(delta), radius)
        assert (torch.linalg.vector_norm((delta - other).flatten(1), dim=1) >= gap - 1e-5).all()


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS)
def test_direction_has_norm_one_and_the_largest_inner_product(name: str, seed: int) -> None:
    """Its inner product with the gradient is the dual norm, the maximum over the unit ball."""
    norm = NORMS[name]
    gradient = perturbations(seed)
    direction = norm.direction(gradient)
    torch.testing.assert_close(norm.size(direction), torch.ones(5))
    climbed = (direction * gradient).flatten(1).sum(1)
    torch.testing.assert_close(climbed, torch.linalg.vector_norm(gradient.flatten(1), ord=DUALS[name], dim=1))


@pytest.mark.parametrize("name", NORMS)
def test_direction_of_zero_is_zero_and_of_a_tiny_gradient_has_norm_one(name: str) -> None:
    assert (NORMS[name].direction(torch.zeros(1, 1, 2, 2)) == 0).all()
    tiny = torch.full((1, 1, 2, 2), 1e-30)
    torch.testing.assert_close(NORMS[name].size(NORMS[name].direction(tiny)), torch.ones(1))


@pytest.mark.parametrize("name", NORMS)
def test_random_points_are_uniform_in_the_ball(name: str) -> None:
    """P(size <= r) = r^d for a uniform point of a d-dimensional unit ball."""
    torch.manual_seed(0)
    points = NORMS[name].random(torch.zeros(20_000, 3))
    sizes = NORMS[name].size(points)
    assert sizes.max() <= 1 + 1e-6
    for radius in (0.5, 0.8, 0.95):
        assert (sizes <= radius).float().mean().item() == pytest.approx(radius**3, abs=0.015)


@pytest.mark.parametrize("name", NORMS)
@given(seed=SEEDS, radius=st.floats(1e-3, 1.0))
def test_threat_projection_is_inside_ball_and_box(name: str, seed: int, radius: float) -> None:
    threat = ThreatModel(name, radius)
    x = torch.rand(5, 2, 4, 3, generator=torch.Generator().manual_seed(seed))
    projected = threat.project(x + perturbations(seed, 2.0), x)
    assert (threat.size(projected - x) <= radius + 1e-6).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    torch.testing.assert_close(threat.project(projected, x), projected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NORMS)
def test_an_empty_batch_is_accepted(name: str) -> None:
    norm, none = NORMS[name], torch.zeros(0, 1, 4, 4)
    for found in (norm.random(none), norm.project(none, 0.1), norm.direction(none)):
        assert found.shape == none.shape
    assert norm.size(none).shape == (0,)
