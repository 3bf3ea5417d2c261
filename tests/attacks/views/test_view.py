"""Tests of views: device batches, invalid logits, missing gradients, dtypes, and the public class."""

import re
from importlib.resources import files
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

from purebench import attacks
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.native import Attack
from purebench.attacks.views.gradient_modes import blind, bpda, exact, no_gradient
from purebench.core.answers import DefenseFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

LOSS = losses.cross_entropy


@pytest.mark.parametrize("size", [1, 5, 12])
def test_the_device_batch_size_does_not_change_a_deterministic_result(small, size):
    case = small()

    def found(batch):
        view = exact(case.defense)
        view.batch = DeviceBatch(batch)
        with seeded("micro"):
            return PGD(steps=5)(view, case.x, case.y, ThreatModel("linf", 0.05))

    torch.testing.assert_close(found(size), found(256), rtol=0, atol=1e-6)


def test_out_of_memory_halves_the_batch_and_adds_a_note(small):
    case = small()

    def limited_memory(x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return case.net(x)

    view = exact(as_defense(limited_memory))
    look = view.look(case.x, case.y, LOSS)
    assert view.batch.notes == [f"out of memory: device batch halved to {size}" for size in (6, 3)]
    torch.testing.assert_close(look.gradient, exact(case.defense).look(case.x, case.y, LOSS).gradient)


@pytest.mark.parametrize("view", [exact, bpda, blind, no_gradient])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: torch.full((len(x), 3), float("nan")), "finite logits"),
        (lambda x: torch.zeros(len(x)), r"shape \[12,K\] with K ≥ 2 classes, but got \[12\]"),
        (lambda x: torch.zeros(len(x) + 1, 3), r"but got \[13, 3\]"),
    ],
)
def test_invalid_logits_are_a_fault_of_the_defense(small, view, answer, message):
    case = small()
    with pytest.raises(DefenseFault, match=message):
        view(as_defense(answer)).scores(case.x)
    with pytest.raises(DefenseFault, match=message):
        view(as_defense(answer)).as_module()(case.x)


@pytest.mark.parametrize("make", [exact, no_gradient])
def test_a_view_without_a_gradient_raises_an_error(small, make):
    case = small()
    defense = as_defense(lambda x: case.net(x.detach()))
    with pytest.raises(PurebenchError, match="a gradient at the image, but none arrives"):
        make(defense).look(case.x, case.y, LOSS)
    with pytest.raises(PurebenchError, match="a gradient at the image, but none arrives"):
        make(defense).as_module()(case.x.clone().requires_grad_())
    assert make(defense).scores(case.x).shape == (12, 1, 5)


def test_logits_are_converted_to_the_dtype_of_the_images(small):
    case = small()
    for kind in (torch.float64, torch.float16):
        view = exact(as_defense(lambda x, kind=kind: case.net(x).to(kind)))
        assert view.look(case.x, case.y, LOSS).loss.dtype == torch.float32
        assert view.scores(case.x).dtype == torch.float32


def test_parameters_get_no_gradients(small):
    case = small()
    case.net.requires_grad_(True)
    exact(Defense(case.net)).look(case.x, case.y, LOSS)
    assert all(parameter.grad is None for parameter in case.net.parameters())


def test_the_public_view_class_is_the_one_passed_to_attacks(small):
    case = small(images=2)
    for make in (exact, bpda, blind, no_gradient):
        assert type(make(case.defense)) is attacks.View
    for name in ("look", "scores", "logits", "as_module", "warn", "note"):
        assert callable(getattr(attacks.View, name))
    assert get_type_hints(Attack.__call__)["view"] is attacks.View
    package = Path(str(files("purebench")))
    paths = [path for folder in (package, Path(attacks.__file__).parent) for path in folder.rglob("*.py")]
    defined = [path for path in paths if re.search(r"^class View\b", path.read_text("utf-8"), re.MULTILINE)]
    assert [path.name for path in defined] == ["view.py"]
