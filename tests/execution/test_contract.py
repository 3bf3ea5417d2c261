"""Tests that invalid defenses are rejected before a run, with a message that says how to fix them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.execution.contract.checks import PROBABILITIES, check_contract, facts

X = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
SEEN: list[Tensor] = []
CALLS = 0


def logits(x: Tensor) -> Tensor:
    return x.float().flatten(1)[:, :3].clone()


def before(function: Callable[[Tensor], object]) -> Defense:
    return Defense(logits, Function(function, random=False))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: 255 * x, r"values from 0 to 255; divide by 255"),
        (lambda x: 2 * x - 1, r"values from -1 to 1; map \[-1,1\] to \[0,1\]: \(x \+ 1\) / 2"),
        (
            lambda x: interpolate(x, 3),
            r"shape \[1, 1, 4, 4\], the shape of its input, but got \[1, 1, 3, 3\]; resize them back",
        ),
        (lambda x: x[0], r"got \[1, 4, 4\]"),
        (lambda x: (255 * x).byte(), "torch.uint8; convert them"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: x.tile(2, 1, 1, 1), r"got \[2, 1, 4, 4\]"),
    ],
    ids=["0 to 255", "-1 to 1", "resized", "no batch dimension", "bytes", "numpy", "batch repeated"],
)
def test_purifiers_with_invalid_output_are_rejected(function: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        check_contract(before(function), X)


def test_a_purifier_with_another_dtype_than_its_classifier_is_rejected() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(
        PurebenchError, match=r"float64, which the classifier does not accept .* end with .to\(x.dtype\)"
    ):
        check_contract(Defense(net, Function(lambda x: x.double(), random=False)), X)
    check_contract(Defense(net.double(), Function(lambda x: x.double(), random=False)), X)


@pytest.mark.parametrize(
    "defense",
    [
        before(lambda x: x.mul_(0.5)),
        as_defense(lambda x: logits(x.sub_(0.1))),
        Defense(lambda x: logits(x.sub_(0.1)), Function(lambda x: x, random=False)),
    ],
    ids=["purifier", "classifier", "both"],
)
def test_a_defense_that_modifies_its_input_in_place_is_rejected(defense: Defense) -> None:
    kept = X.clone()
    with pytest.raises(PurebenchError, match=r"modifies them in place; work on a copy: x = x.clone\(\)"):
        check_contract(defense, X)
    assert torch.equal(X, kept)


def test_a_classifier_may_modify_the_purified_images_in_place() -> None:
    check_contract(Defense(lambda x: logits(x.sub_(0.1)), Function(lambda x: x.clone(), random=False)), X)


def test_valid_defenses_are_accepted() -> None:
    check_contract(before(lambda x: x), X)
    check_contract(before(lambda x: 1.2 * x - 0.1), X)  # generative models overshoot
    resizing = Function(lambda x: interpolate(x, 3), random=False)
    resizing.resizes = True
    check_contract(Defense(logits, resizing), X)

    def crashes(x: Tensor) -> Tensor:
        raise RuntimeError("no answer today")

    check_contract(as_defense(crashes), X)  # the jobs report it, with the images that cause it
    check_contract(before(lambda x: x * float("nan")), X)


def test_outputs_without_logits_are_rejected_with_a_fix() -> None:
    with pytest.raises(PurebenchError, match=r"wrap it: lambda x: model\(x\)\['a'\]"):
        check_contract(as_defense(lambda x: {"a": logits(x), "b": logits(x)}), X)  # type: ignore[arg-type,return-value]
    check_contract(as_defense(lambda x: {"logits": logits(x), "b": logits(x)}), X)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3)),
            r"a classifier that accepts images of shape \[1, 4, 4\], but it takes \[3, 4, 4\] \(Given",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 3)), r"but it takes \[1, 28, 28\] \(mat1 and mat2 shapes"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), r"but it takes \[3, 32, 32\] .*; convert them inside"),
        (nn.Sequential(nn.Flatten(), nn.Linear(999, 3)), r"but it fails \(mat1 and mat2 shapes cannot be multiplied"),
    ],
    ids=["channels", "size", "both", "unknown"],
)
def test_a_classifier_for_another_image_shape_is_rejected(net: nn.Module, message: str) -> None:
    if isinstance(net[-1], nn.LazyLinear):  # type: ignore[index]
        net(torch.rand(1, 3, 4, 4))
    with pytest.raises(PurebenchError, match=message):
        check_contract(as_defense(net), X)


def test_a_purifier_for_another_image_shape_is_rejected() -> None:
    net = nn.Conv2d(3, 3, 3, padding=1)
    with pytest.raises(
        PurebenchError, match=r"a purifier that accepts images of shape \[1, 4, 4\].* takes \[3, 4, 4\]"
    ):
        check_contract(Defense(logits, Function(net, random=False)), X)


def test_errors_on_some_images_are_not_contract_violations() -> None:
    """The error message does not matter, because the defense accepts another image of the same shape."""

    def dark(x: Tensor) -> Tensor:
        if float(x.mean()) != 0.5:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return logits(x)

    assert check_contract(as_defense(dark), X) is None


def test_a_random_defense_declared_deterministic_is_rejected() -> None:
    noise = Function(lambda x: x + 0.1 * torch.randn_like(x), random=False)
    with pytest.raises(PurebenchError, match=r"equal answers .* random=False.*declare random=True"):
        check_contract(Defense(logits, noise), X)
    assert check_contract(Defense(logits, Function(noise.function, random=True)), X) is None
    tiny = Function(lambda x: x + 1e-6 * torch.rand_like(x), random=False)  # noise as small as rounding errors on a GPU
    assert check_contract(Defense(logits, tiny), X) is None


def test_a_deterministic_defense_declared_random_is_reported() -> None:
    warning = check_contract(as_defense(logits, random=True), X)
    assert warning is not None
    assert warning.startswith("it declares random=True, but 8 draws are equal to the last bit")
    rounded = Function(lambda x: x + 1e-3 * torch.randn_like(x), random=True)  # the classifier rounds the noise away
    assert check_contract(Defense(lambda x: logits(x).round(), rounded), X) is None

    def seeds(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return logits(x + torch.rand_like(x))

    with pytest.raises(PurebenchError, match="it sets its own seed"):
        check_contract(as_defense(seeds, random=True), X)
    dropout = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    with pytest.raises(PurebenchError, match="dropout is off in eval mode"):
        check_contract(as_defense(dropout, random=True), X)


def remembers(x: Tensor) -> Tensor:
    SEEN.append(x)
    return logits(x)


def counts(x: Tensor) -> Tensor:
    global CALLS
    CALLS += 1
    return logits(x)


def through_another_function(x: Tensor) -> Tensor:
    return remembers(x)


class Remembers(nn.Module):
    """Stores images in a class attribute."""

    seen: list[Tensor] = []  # noqa: RUF012

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return logits(x)


class Memory:
    """Stores images in an instance attribute or in a class attribute."""

    everywhere: list[Tensor] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[Tensor] = []


MEMORY, NESTED = Memory(), {"a": {"seen": [torch.zeros(1)]}}
OTHER = types.ModuleType("notes_of_others")
OTHER.__dict__.update(__file__="/home/me/notes_of_others.py", IMAGES=[], keep=None)
sys.modules["notes_of_others"] = OTHER
exec("def keep(x):\n    IMAGES.append(x)\n", OTHER.__dict__)


def by_instance(x: Tensor) -> Tensor:
    MEMORY.seen.append(x)
    return logits(x)


def by_class(x: Tensor) -> Tensor:
    Memory.everywhere.append(x)
    return logits(x)


def by_nesting(x: Tensor) -> Tensor:
    NESTED["a"]["seen"].append(x)
    return logits(x)


def looked_up(x: Tensor, before: list[Tensor] = []) -> Tensor:  # noqa: B006
    before.append(x)
    return x


def by_default(x: Tensor) -> Tensor:
    return logits(looked_up(x))


def by_module(x: Tensor) -> Tensor:
    OTHER.IMAGES.append(x)
    return logits(x)


def by_function_of_module(x: Tensor) -> Tensor:
    OTHER.keep(x)
    return logits(x)


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (remembers, "SEEN"),
        (counts, "CALLS"),
        (through_another_function, "SEEN"),
        (Remembers(), "seen"),
        (by_instance, r"MEMORY\.seen"),
        (by_class, r"Memory\.everywhere"),
        (by_nesting, r"NESTED\.a\.seen"),
        (by_default, r"looked_up\.defaults\.0"),
        (by_module, r"OTHER\.IMAGES"),
        (by_function_of_module, "IMAGES"),
    ],
)
def test_state_outside_the_defense_is_rejected(thing: Callable[[Tensor], Tensor], name: str) -> None:
    with pytest.raises(PurebenchError, match=rf"stores nothing .*{name}\b.*; store it in an attribute"):
        check_contract(as_defense(thing), X)


CACHE: dict[object, Tensor] = {}


def test_a_cache_by_shape_is_accepted() -> None:
    def cached(x: Tensor) -> Tensor:
        return logits(x + CACHE.setdefault(x.shape[1:], torch.zeros(x.shape[1:])))

    check_contract(as_defense(cached), X)


def test_probabilities_instead_of_logits_give_a_warning() -> None:
    (warning,) = facts(as_defense(lambda x: logits(x).softmax(1)), X).warnings
    assert warning == ResultWarning(WarningCode.PROBABILITIES, PROBABILITIES)
    assert facts(as_defense(logits), X).warnings == ()
    assert facts(as_defense(lambda x: logits(x).softmax(1).log()), X).warnings == ()


class Parts(Defense):
    """Overrides `forward` with the same function."""

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.purify(x)) * 1.0


class Another(Defense):
    """Rounds images in `forward`, which is verified, and not in the parts, which attacks differentiate."""

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier((x * 2).round() / 2)


def test_a_defense_whose_forward_differs_from_its_parts_is_rejected() -> None:
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    check_contract(Parts(logits), x)
    with pytest.raises(PurebenchError, match="Another overrides `forward`"):
        check_contract(Another(logits), x)
