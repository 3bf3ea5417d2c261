"""Norms of images, steepest-ascent directions and projections; the only module that implements the geometry of norms.

Every function works on batches [N,…] and treats each image separately. A new norm is one `Norm` in `NORMS`, and one
`NormFacts` in `norm_facts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """The geometry of one norm on perturbations [N,…].

    Attributes:
        name: the name of the norm.
        size: the value of the norm, [N].
        direction: the perturbation of norm 1 that maximally increases the linear function with this gradient (zero
            where the gradient is zero).
        project: the nearest perturbation whose norm is at most the radius.
        random: a random perturbation of the shape of x inside the ball of radius 1.
        around: (x, radius) → a function that maps points into the ball around x and into [0,1]: to the nearest such
            point in linf and l1, and to the projection on the ball clipped to the box in l2.
    """

    name: str
    size: Callable[[Tensor], Tensor]
    direction: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, float], Tensor]
    random: Callable[[Tensor], Tensor]
    around: Callable[[Tensor, float], Callable[[Tensor], Tensor]]


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values so that they broadcast against a batch.

    Args:
        values: one value per image, [N].
        like: the batch [N,…].

    Returns:
        The values as [N,1,…].
    """
    return values.view(-1, *[1] * (like.ndim - 1))


def linf_size(delta: Tensor) -> Tensor:
    """Return the largest absolute value of each perturbation, [N]."""
    return delta.flatten(1).abs().amax(1)


def l2_size(delta: Tensor) -> Tensor:
    """Return the Euclidean length of each perturbation, [N]."""
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return size


def l2_direction(gradient: Tensor) -> Tensor:
    """Return the gradient divided by its length.

    The gradient is first scaled by its largest value, so that tiny gradients do not underflow.
    """
    scaled = gradient / per_image(linf_size(gradient).clamp_min(1e-38), gradient)
    return scaled / per_image(l2_size(scaled).clamp_min(1e-12), gradient)


def l2_project(delta: Tensor, radius: float) -> Tensor:
    """Shorten perturbations that are longer than the radius to the radius.

    Args:
        delta: perturbations [N,…].
        radius: the largest l2 norm.
    """
    return delta * per_image((radius / l2_size(delta).clamp_min(1e-12)).clamp_max(1.0), delta)


def l2_random(x: Tensor) -> Tensor:
    """Sample uniformly from the unit ball.

    The direction is uniform, and the length is the d-th root of a uniform number.
    """
    lengths = torch.rand(len(x), device=x.device, dtype=x.dtype) ** (1.0 / math.prod(x.shape[1:]))
    return l2_direction(torch.randn_like(x)) * per_image(lengths, x)


def l1_size(delta: Tensor) -> Tensor:
    """Return the sum of the absolute values of each perturbation, [N]."""
    return delta.flatten(1).abs().sum(1)


def l1_direction(gradient: Tensor) -> Tensor:
    """Return the sign of the largest component, with all other components zero.

    This is the corner of the ball where a linear function is largest.
    """
    flat = gradient.flatten(1)
    place = flat.abs().argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter(1, place, flat.gather(1, place).sign()).view_as(gradient)


def l1_random(x: Tensor) -> Tensor:
    """Sample uniformly from the unit ball: d of d + 1 exponential variables divided by their sum, with random signs."""
    draws = -torch.rand(len(x), math.prod(x.shape[1:]) + 1, device=x.device, dtype=x.dtype).clamp_min(1e-30).log()
    shares = draws[:, 1:] / draws.sum(1, keepdim=True)
    return shares.view_as(x) * (torch.randint(0, 2, x.shape, device=x.device).to(x) * 2 - 1)


def shrunk(delta: Tensor, room: Tensor, radius: float) -> Tensor:
    """Return the perturbation nearest to delta with |d_i| ≤ room_i and an l1 norm of at most the radius.

    It is sign(delta)·clamp(|delta| - t, 0, room), where the threshold t ≥ 0 is the smallest for which the norm is
    within the radius (Croce & Hein 2021, arXiv:2103.01208, proposition 2.1). The norm is piecewise linear in t; its
    slope changes where a component leaves its bound or reaches zero. The threshold is found along the sorted changes.

    Args:
        delta: perturbations [N,…].
        room: the bounds of the components, of the shape of delta.
        radius: the largest l1 norm.
    """
    size, bound = delta.flatten(1).abs().double(), room.flatten(1).double()
    bound = torch.minimum(bound, size)
    marks, order = torch.cat([size - bound, size], 1).sort(dim=1)
    slopes = torch.cat([-torch.ones_like(size), torch.ones_like(size)], 1).gather(1, order).cumsum(1)
    falls = (slopes[:, :-1] * marks.diff(dim=1)).cumsum(1)
    heights = bound.sum(1, keepdim=True) + torch.cat([torch.zeros_like(falls[:, :1]), falls], 1)
    after = (heights > radius).sum(1, keepdim=True).clamp(1, marks.shape[1] - 1)
    before = after - 1
    slope = slopes.gather(1, before).clamp_max(-1)
    threshold = marks.gather(1, before) + (radius - heights.gather(1, before)) / slope
    found = torch.minimum((size - threshold).clamp_min(0), bound)
    fits = bound.sum(1, keepdim=True) <= radius
    flat = delta.flatten(1)
    return (torch.where(fits, bound, found).to(delta) * flat.sign()).view_as(delta)


def l1_project(delta: Tensor, radius: float) -> Tensor:
    """Return the nearest perturbation of at most the radius: every component shrinks by the same amount.

    Args:
        delta: perturbations [N,…].
        radius: the largest l1 norm.
    """
    return shrunk(delta, delta.abs(), radius)


def l1_around(x: Tensor, radius: float) -> Callable[[Tensor], Tensor]:
    """Return a function that maps to the nearest point in both the ball around x and the box.

    Projecting on one after the other would waste a part of the radius.

    Args:
        x: images [N,…] in [0,1].
        radius: the largest l1 norm of a perturbation.
    """

    def within(point: Tensor) -> Tensor:
        delta = point - x
        return (x + shrunk(delta, torch.where(delta > 0, 1 - x, x), radius)).clamp_(0, 1)

    return within


def l2_around(x: Tensor, radius: float) -> Callable[[Tensor], Tensor]:
    """Return a function that projects on the ball around x, then on the box.

    The result stays in the ball, because x itself is in [0,1].

    Args:
        x: images [N,…] in [0,1].
        radius: the largest l2 norm of a perturbation.
    """
    return lambda point: (x + l2_project(point - x, radius)).clamp_(0, 1)


def linf_around(x: Tensor, radius: float) -> Callable[[Tensor], Tensor]:
    """Return a function that clips every component to x ± radius and to [0,1].

    Args:
        x: images [N,…] in [0,1].
        radius: the largest linf norm of a perturbation.
    """
    low, high = (x - radius).clamp_(min=0), (x + radius).clamp_(max=1)
    return lambda point: point.clamp(low, high)


def linf_project(delta: Tensor, radius: float) -> Tensor:
    """Clip every component to ± the radius.

    Args:
        delta: perturbations [N,…].
        radius: the largest linf norm.
    """
    return delta.clamp(-radius, radius)


def linf_random(x: Tensor) -> Tensor:
    """Sample uniformly from the unit ball."""
    return torch.empty_like(x).uniform_(-1, 1)


NORMS: dict[str, Norm] = {
    "linf": Norm("linf", linf_size, torch.sign, linf_project, linf_random, linf_around),
    "l2": Norm("l2", l2_size, l2_direction, l2_project, l2_random, l2_around),
    "l1": Norm("l1", l1_size, l1_direction, l1_project, l1_random, l1_around),
}
