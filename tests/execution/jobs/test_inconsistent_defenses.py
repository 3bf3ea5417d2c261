"""Tests that verification detects defenses whose answers depend on the batch, the gradient mode or the call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from purebench.core.answers import DefenseFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import as_defense
from purebench.execution.jobs.verification import verify


def test_a_random_defense_declared_deterministic_is_a_fault() -> None:
    liar = as_defense(lambda x: torch.randn(len(x), 3))
    with pytest.raises(DefenseFault, match="random=True"):
        verify(liar, torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long), 8, DeviceBatch())
    calls: list[int] = []

    def turns(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.eye(9)[[len(calls)] * len(x)]

    with pytest.raises(DefenseFault, match="expected equal answers from a defense with random=False"):
        verify(as_defense(turns), torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long), 8, DeviceBatch())


def image_logits(x: torch.Tensor) -> torch.Tensor:
    """Logits that differ between images and between classes."""
    return x.flatten(1) @ torch.linspace(-1, 1, 12).view(4, 3)


def depends_on_the_batch(x: torch.Tensor) -> torch.Tensor:
    return image_logits(x) + image_logits(x).mean(0)


def depends_on_gradient_mode(x: torch.Tensor) -> torch.Tensor:
    return -image_logits(x) if x.requires_grad else image_logits(x)


def small_noise(x: torch.Tensor) -> torch.Tensor:
    return 1e-5 * (image_logits(x) + torch.randn(len(x), 3))


OWN = torch.Generator()


def own_generator(x: torch.Tensor) -> torch.Tensor:
    return image_logits(x) + torch.randn(len(x), 3, generator=OWN)


@pytest.mark.parametrize(
    ("function", "random", "message"),
    [
        (depends_on_the_batch, False, "other images of a batch"),
        (depends_on_gradient_mode, False, "gradients on and off"),
        (small_noise, False, "random=True"),
        (own_generator, True, "under equal seeds"),
        (lambda x: image_logits(x).argmax(1, keepdim=True).repeat(1, 3), False, "floating-point logits"),
    ],
)
def test_inconsistent_defenses_are_faults(
    function: Callable[[torch.Tensor], torch.Tensor], random: bool, message: str
) -> None:
    x = torch.rand(7, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DefenseFault, match=message):
        verify(as_defense(function, random=random), x, torch.zeros(7, dtype=torch.long), 4, DeviceBatch())


def test_a_non_differentiable_defense_is_not_a_fault() -> None:
    def by_numpy(x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(x.numpy().reshape(len(x), -1)[:, :3].copy())

    x = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    right = verify(as_defense(by_numpy), x, by_numpy(x).argmax(1), 4, DeviceBatch())
    assert right.shape == (5, 1)
    assert right.all()
