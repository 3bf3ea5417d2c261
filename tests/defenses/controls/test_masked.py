"""Tests that planted faults hide gradients and leave the predicted classes, so that the truth is that of the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from purebench.core import registry
from purebench.core.defense import Defense, as_defense
from purebench.core.defense.known_truth import Control
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.data.datasets import fashion_mnist
from purebench.defenses.controls.faults import FAULTS
from purebench.defenses.controls.masked import Masked, masked
from purebench.defenses.controls.relu_network import verified

THREAT = ThreatModel("linf", 16 / 255)


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    data = fashion_mnist().take(range(16))
    x = torch.as_tensor(data.floats())
    near = x + THREAT.radius * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
    return near.clamp(0, 1), torch.as_tensor(data.labels)


def gradient(defense: Defense, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(functional.cross_entropy(defense(leaf), y, reduction="sum"), leaf)
    return found


def test_there_are_at_least_24_faults() -> None:
    assert len(FAULTS) >= 24


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_every_predicted_class_and_its_reference_is_the_same_model(
    fault: str, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    made = as_defense(masked(fault=fault, classifier="fashion-trades"))
    assert isinstance(made, Masked)
    reference = as_defense(registry.create("defenses", Spec.parse(made.reference), classifier=torch.nn.Identity()))
    with torch.no_grad():
        torch.manual_seed(0)
        answered = made(x).argmax(1)
        torch.manual_seed(0)
        expected = reference(x).argmax(1)
    assert answered.tolist() == expected.tolist()
    assert isinstance(made, Control)
    truth = made.truth(x, y, THREAT)
    assert truth.low.tolist() == [0.0] * len(x)
    assert truth.high.isnan().all()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_the_gradient_or_the_logits(fault: str, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    made, plain = (
        as_defense(masked(fault=fault, classifier="fashion-trades")),
        registry.create("classifiers", Spec("fashion-trades")),
    )
    made(x)  # a fault with memory needs an earlier query
    torch.manual_seed(0)
    with_fault = gradient(made, (x + 0.01).clamp(0, 1), y)
    without = gradient(Defense(plain), (x + 0.01).clamp(0, 1), y)
    assert with_fault.shape == without.shape
    assert not torch.allclose(with_fault, without, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("fault", ["detached", "one-hot", "ranks", "quantised", "coarse"])
def test_gradients_of_these_faults_are_zero(fault: str, images: tuple[Tensor, Tensor]) -> None:
    assert not gradient(as_defense(masked(fault=fault, classifier="fashion-trades")), *images).any()


def test_a_fresh_copy_of_a_model_with_memory_answers_as_the_model(images: tuple[Tensor, Tensor]) -> None:
    x, _ = images
    used = as_defense(masked(fault="memory", classifier="fashion-trades"))
    used(x)
    other = (x + 0.15).clamp(0, 1)
    assert torch.allclose(used(other), used(x), atol=1e-4)
    fresh = as_defense(masked(fault="memory", classifier="fashion-trades"))
    assert not torch.allclose(fresh(other), used(other), atol=1e-2)


def test_the_truth_of_a_masked_verified_network_is_its_own(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    made = masked(fault="decoy", classifier="fashion-verified")
    assert made.reference == ""
    own = verified().truth(x[:10], y[:10], THREAT)
    found = made.truth(x[:10], y[:10], THREAT)
    assert found.low.tolist() == own.low.tolist()
    assert 0 < float(found.low.mean()) < 1


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(PurebenchError, match="detached"):
        masked(fault="detatched", classifier="fashion-trades")
