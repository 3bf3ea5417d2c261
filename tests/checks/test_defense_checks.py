"""Tests the checks of gradients and seeds on linear and quadratic classifiers with intact or hidden gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from purebench.checks.defense_checks import EXACT, FADES, ZERO, coarse_types, gradients, seeds, slopes
from purebench.checks.finding import CheckResult, CheckStatus, judged
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, Function

WEIGHTS = torch.randn(3, 36, generator=torch.Generator().manual_seed(0))
X = torch.rand(24, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(24) % 3
OWN = np.random.default_rng(5)


def linear(x: Tensor) -> Tensor:
    return x.flatten(1) @ WEIGHTS.T


def asked(defense: Defense) -> dict[str, CheckResult]:
    first, then = (slopes(defense, X[part], Y[part], DeviceBatch(4)) for part in (slice(8), slice(8, None)))
    found = judged([*gradients(defense, first + then, 0.2), seeds(defense, X, DeviceBatch(4))], 0.05)
    return {one.name: one for one in found}


def behind(purify: Callable[[Tensor], Tensor], random: bool = False) -> Defense:
    return Defense(linear, Function(purify, random=random))


class Hidden(torch.autograd.Function):
    """The identity with a negated gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


@pytest.mark.parametrize(
    ("defense", "zero", "exact"),
    [
        (Defense(linear), CheckStatus.HOLDS, CheckStatus.HOLDS),
        (behind(lambda x: x**2), CheckStatus.HOLDS, CheckStatus.HOLDS),
        (behind(lambda x: (x + 0.3 * torch.randn_like(x)) ** 2, random=True), CheckStatus.HOLDS, CheckStatus.HOLDS),
        (behind(lambda x: (x * 8).round() / 8), CheckStatus.FAILS, CheckStatus.NOT_APPLICABLE),
        (behind(lambda x: x.detach()), CheckStatus.FAILS, CheckStatus.NOT_APPLICABLE),
        (behind(Hidden.apply), CheckStatus.HOLDS, CheckStatus.FAILS),
        (behind(lambda x: x + (x**2).detach()), CheckStatus.HOLDS, CheckStatus.FAILS),
        (behind(lambda x: x * (x.detach() > 0.5) + 0 * x), CheckStatus.HOLDS, CheckStatus.HOLDS),
        (behind(lambda x: Hidden.apply(x) if len(x) > 1 else x), CheckStatus.HOLDS, CheckStatus.FAILS),
        (behind(lambda x: Hidden.apply(x) if len(x) == 1 else x), CheckStatus.HOLDS, CheckStatus.FAILS),
        (
            behind(lambda x: (Hidden.apply(x) if len(x) > 1 else x) + 0.3 * torch.randn_like(x), random=True),
            CheckStatus.HOLDS,
            CheckStatus.FAILS,
        ),
    ],
    ids=[
        "linear",
        "square",
        "random",
        "rounded",
        "detached",
        "negated",
        "half",
        "kinks",
        "negated in batches",
        "negated for single images",
        "random, negated in batches",
    ],
)
def test_hidden_gradients_are_found(defense: Defense, zero: CheckStatus, exact: CheckStatus) -> None:
    found = asked(defense)
    assert (found[ZERO].result, found[EXACT].result) == (zero, exact)


def test_ties_in_images_of_few_grey_levels_are_not_reported() -> None:
    """A median is not differentiable where pixels tie, as half of the pixels of a real image do."""

    def median(x: Tensor) -> Tensor:
        windows = functional.pad(x, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
        return windows.flatten(4).median(dim=4).values

    coarse = (X * 3).round() / 3
    found = slopes(behind(median), coarse, Y, DeviceBatch(4))
    assert found.flat.sum() == 0
    assert found.off.mean() <= 0.1


@pytest.mark.parametrize(
    ("scale", "result"), [(1.0, CheckStatus.HOLDS), (3.0, CheckStatus.HOLDS), (1e6, CheckStatus.FAILS)], ids=str
)
@pytest.mark.parametrize("purifier", [None, Function(lambda x: x.detach(), random=False)], ids=["bare", "no gradient"])
def test_logits_that_saturate_the_cross_entropy_are_found(
    purifier: Function | None, scale: float, result: CheckStatus
) -> None:
    """At scale 1e6 the softmax of a correct prediction is exactly 0 or 1; the gradient of the margin is not zero."""
    if purifier is not None:
        purifier.differentiable = False
    defense = Defense(lambda x: scale * linear(x), purifier)
    right = linear(X).argmax(1)
    found = judged(gradients(defense, slopes(defense, X, right, DeviceBatch(8)), 0.2), 0.05)
    by_name = {one.name: one for one in found}
    assert by_name[FADES].result is result
    assert by_name[ZERO].result is (CheckStatus.HOLDS if purifier is None else CheckStatus.NOT_APPLICABLE)
    loss = functional.cross_entropy(scale * linear(x := X.clone().requires_grad_()), right)
    slope = torch.autograd.grad(loss, x)[0].flatten(1).any(1)
    assert slope.float().mean() > 0.9 if result is CheckStatus.HOLDS else slope.float().mean() < 0.1


def test_gradient_checks_do_not_apply_to_purifiers_declared_not_differentiable() -> None:
    defense = behind(lambda x: x.detach())
    assert defense.purifier is not None
    defense.purifier.differentiable = False
    found = gradients(defense, slopes(defense, X, Y, DeviceBatch(4)), 0.2)
    assert [(one.wrong, one.right) for one in found][:2] == [(None, None)] * 2


@pytest.mark.parametrize(
    ("defense", "result", "told"),
    [
        (behind(lambda x: x), CheckStatus.HOLDS, "do not depend on the seed"),
        (
            behind(lambda x: x + 0.3 * torch.randn_like(x), random=True),
            CheckStatus.HOLDS,
            "different seeds give different draws",
        ),
        (
            behind(lambda x: x if torch.rand(()) < 0.5 else x**2, random=True),
            CheckStatus.HOLDS,
            "different seeds give different draws",
        ),
        (behind(lambda x: x + 0.3 * torch.randn_like(x)), CheckStatus.FAILS, "declare random=True"),
        (behind(lambda x: x - x.mean(), random=False), CheckStatus.FAILS, "other images of a batch"),
        (behind(lambda x: x, random=True), CheckStatus.FAILS, "other seeds give the same answers"),
        (
            behind(lambda x: x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3)), random=True),
            CheckStatus.FAILS,
            "remove a seed that is set inside it",
        ),
        (
            behind(lambda x: x + torch.from_numpy(OWN.random(x.shape)).to(x), random=True),
            CheckStatus.FAILS,
            "equal seeds",
        ),
    ],
    ids=["deterministic", "random", "coin", "undeclared", "batch", "not-random", "inner-seed", "own-generator"],
)
def test_defenses_that_ignore_the_seed_are_found(defense: Defense, result: CheckStatus, told: str) -> None:
    (found,) = judged([seeds(defense, X, DeviceBatch(4))], 0.05)
    assert found.result is result
    assert told in found.sentence


def test_coarse_arithmetic_is_mentioned_only_if_the_defense_uses_it() -> None:
    """The same wrong gradient in float32 and in bf16, in which rounding alone could cause it."""

    def coarse(x: Tensor) -> Tensor:
        return linear(Hidden.apply(x)).bfloat16().float()

    told = {name: asked(Defense(f))[EXACT] for name, f in (("float", behind(Hidden.apply)), ("bf16", coarse))}
    assert {one.result for one in told.values()} == {CheckStatus.FAILS}
    assert "less precise" not in told["float"].sentence
    assert "the defense computes in bfloat16, which is less precise than float32" in told["bf16"].sentence


@pytest.mark.parametrize(
    ("kind", "types"),
    [(torch.float32, ()), (torch.float64, ()), (torch.bfloat16, ("bfloat16",)), (torch.float16, ("float16",))],
)
def test_types_coarser_than_float32_are_found(kind: torch.dtype, types: tuple[str, ...]) -> None:
    assert coarse_types(Defense(lambda x: linear((x.to(kind) * 2).to(x))), X[:1]) == types
