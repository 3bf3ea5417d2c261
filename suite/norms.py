"""Norms of images, steepest-ascent directions and projections; the only place that knows a norm's geometry.

Every function works on batches [N,…] and treats each image apart. A new norm is one `Norm` in `NORMS`.
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

    size: its value, [N]. direction: the perturbation of norm 1 that raises a linear function of this gradient most
    (zero where the gradient is). project: the nearest perturbation of at most the radius.
    random: a perturbation like x, inside the ball of radius 1.
    """

    name: str
    size: Callable[[Tensor], Tensor]
    direction: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, float], Tensor]
    random: Callable[[Tensor], Tensor]


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """values [N] reshaped to [N,1,…] so that they broadcast against `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def linf_size(delta: Tensor) -> Tensor:
    """Largest absolute value of each perturbation, [N]."""
    return delta.flatten(1).abs().amax(1)


def l2_size(delta: Tensor) -> Tensor:
    """Euclidean length of each perturbation, [N]."""
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return size


def l2_direction(gradient: Tensor) -> Tensor:
    """Gradient over its length; scaled by its largest value first, so that tiny gradients do not underflow."""
    scaled = gradient / per_image(linf_size(gradient).clamp_min(1e-38), gradient)
    return scaled / per_image(l2_size(scaled).clamp_min(1e-12), gradient)


def l2_project(delta: Tensor, radius: float) -> Tensor:
    """Perturbations longer than the radius are shortened to it."""
    return delta * per_image((radius / l2_size(delta).clamp_min(1e-12)).clamp_max(1.0), delta)


def l2_random(x: Tensor) -> Tensor:
    """Uniform in the unit ball: a uniform direction, its length the d-th root of a uniform number."""
    lengths = torch.rand(len(x), device=x.device, dtype=x.dtype) ** (1.0 / math.prod(x.shape[1:]))
    return l2_direction(torch.randn_like(x)) * per_image(lengths, x)


NORMS: dict[str, Norm] = {
    "linf": Norm(
        "linf",
        linf_size,
        torch.sign,
        lambda delta, radius: delta.clamp(-radius, radius),
        lambda x: 2 * torch.rand_like(x) - 1,
    ),
    "l2": Norm("l2", l2_size, l2_direction, l2_project, l2_random),
}
