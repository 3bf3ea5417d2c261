"""Tests that copies of a defense share no state with it, wherever the state is stored."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.execution.contract.pristine import copied

X = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class Remembers(nn.Module):
    """Returns the logits of the first batch at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.first = self.first or [x.flatten(1)]
        return self.first[0]


class Plain:
    """An object that is not a module, with state in a list of functions."""

    def __init__(self) -> None:
        self.inner = [closure()]

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner[0](x)  # type: ignore[no-any-return, operator]


def closure() -> object:
    first = None

    def answer(x: Tensor) -> Tensor:
        nonlocal first
        first = x.flatten(1) if first is None else first
        return first

    return answer


def default(x: Tensor, memory: dict[str, Tensor] = {}) -> Tensor:  # noqa: B006
    return memory.setdefault("first", x.flatten(1))


@pytest.mark.parametrize(
    "thing",
    [
        Remembers(),
        closure(),
        default,
        functools.partial(lambda memory, x: memory.setdefault("first", x.flatten(1)), {}),
        Plain(),
        Plain().__call__,
        Function(closure(), random=False),  # type: ignore[arg-type]
    ],
    ids=["module", "closure", "default", "partial", "object", "method", "purifier"],
)
def test_a_copy_shares_no_state_with_the_original(thing: object) -> None:
    original = as_defense(thing, nn.Identity())  # type: ignore[arg-type]
    original = original if original.purifier is None else Defense(lambda x: x, original.purifier)
    pristine = copied(original)
    first = original(X).clone()
    assert torch.equal(original(1 - X), first)
    assert torch.equal(pristine(1 - X).flatten(1), (1 - X).flatten(1))
    assert torch.equal(original(1 - X), first)


def test_copied_functions_still_share_their_closure_variable() -> None:
    def pair() -> tuple[object, object]:
        count = 0

        def up(x: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return x

        return up, lambda: count

    up, read = copied(pair())
    up(X)  # type: ignore[operator]
    assert read() == 1  # type: ignore[operator]


def test_weights_are_copied_and_shared_modules_stay_shared() -> None:
    part = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    whole = nn.ModuleDict({"one": part, "two": nn.Sequential(part, nn.GRU(2, 2), nn.MultiheadAttention(2, 1))})
    made = copied(whole)
    assert made["one"] is made["two"][0]  # type: ignore[index]
    assert made["one"][0].weight.data_ptr() != part[0].weight.data_ptr()  # type: ignore[index]
    for (name, value), other in zip(whole.state_dict().items(), made.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert [type(one) for one in made.modules()] == [type(one) for one in whole.modules()]
    assert copied(relu) is relu  # layers compare their activation with this function by identity


def test_scripted_and_quantised_models_can_be_copied() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    for model in (torch.jit.trace(net, X), quantised):
        assert torch.equal(copied(as_defense(model))(X), model(X))


def test_objects_that_cannot_be_copied_are_rejected_with_a_fix() -> None:
    lock = threading.Lock()

    def locked(x: Tensor) -> Tensor:
        with lock:
            return x.flatten(1)

    with pytest.raises(PurebenchError, match=r"can be copied, .* 'path/to/file.py:name'"):
        copied(as_defense(locked))
