"""Compares the compiled form of a network with the network itself, in its answers and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from purebench.core.compute.compiled.call_layout import Arguments
from purebench.core.errors import PurebenchError

ANSWERS = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference of the answers, in the l2 norm, over the norm of the answers, by their type."""
GRADIENTS = {torch.float32: 0.1, torch.float16: 0.2, torch.bfloat16: 0.3}
"""Largest difference of the gradients, likewise. It is larger because a rounding error that moves an activation across
the kink of a ReLU changes the gradient by a whole path: 0.7 % on the bundled ResNet."""


def check_agreement(
    plain: Callable[..., Any], compiled: Callable[..., Any], module: nn.Module, given: Arguments, rows: int
) -> None:
    """Compile a network for some arguments, and compare the answers and gradients.

    Args:
        plain: Function of the module and the arguments, uncompiled.
        compiled: The same function, compiled.
        module: The network.
        given: The arguments.
        rows: Number of rows that every tensor of the answer must have.

    Raises:
        PurebenchError: If the network draws random numbers, its answer is not made of tensors with that
            many rows, or they differ.
    """
    device = next(leaf.device for leaf in given.leaves if isinstance(leaf, Tensor))
    with forked(device):
        before = _states(device)
        expected, slopes = _answers(plain, module, given)
        if any(not torch.equal(one, other) for one, other in zip(before, _states(device), strict=True)):
            raise PurebenchError("it draws random numbers, which its compiled form would draw in another way")
        if any(not answer.ndim or len(answer) != rows for answer in expected):
            raise PurebenchError(f"expected tensors with {rows} rows, but its answer has other ones")
        found, others = _answers(compiled, module, given)
        compare("answers", expected, found, ANSWERS)
        compare("gradients", slopes, others, GRADIENTS)


def _states(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _answers(function: Callable[..., Any], module: nn.Module, given: Arguments) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors of an answer, and the gradients of a weighted sum of them at the arguments."""
    leaves = [
        leaf.detach().clone().requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf
        for leaf in given.leaves
    ]
    args, kwargs = pytree.tree_unflatten(leaves, given.structure)
    every = [leaf for leaf in pytree.tree_leaves(function(module, *args, **kwargs)) if leaf is not None]
    if others := [type(leaf).__name__ for leaf in every if not isinstance(leaf, Tensor)]:
        raise PurebenchError(f"expected tensors, but its answer has an object of the class {others[0]}")
    answers: list[Tensor] = every
    wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    floats = [answer for answer in answers if answer.requires_grad]
    slopes: list[Tensor] = []
    if wanted and floats:
        weights = [torch.linspace(-1, 1, answer.numel(), device=answer.device) for answer in floats]
        total = torch.stack([(answer.flatten() * one).sum() for answer, one in zip(floats, weights, strict=True)])
        found = torch.autograd.grad(total.sum(), wanted, allow_unused=True)
        slopes = [one for one in found if one is not None]
    return [answer.detach() for answer in answers], slopes


def compare(what: str, expected: Sequence[Tensor], found: Sequence[Tensor], most: Mapping[torch.dtype, float]) -> None:
    """Compare tensors of a compiled network with those of the network itself.

    Args:
        what: Their name, for the error.
        expected: Those of the network.
        found: Those of its compiled form.
        most: Largest difference in the l2 norm, over the norm of the expected tensor, by type. Inside autocast that of
            its type counts.

    Raises:
        PurebenchError: If they differ.
    """
    if [one.shape for one in expected] != [one.shape for one in found]:
        raise PurebenchError(f"expected {what} of equal shapes from its compiled form, but they differ")
    for one, other in zip(expected, found, strict=True):
        half = torch.is_autocast_enabled(one.device.type)
        allowed = most[torch.get_autocast_dtype(one.device.type) if half else torch.float32]
        apart = float((one.double() - other.double()).norm() / one.double().norm().clamp(min=1e-12))
        if not apart <= allowed:
            raise PurebenchError(
                f"expected {what} of its compiled form within {100 * allowed:g} % of its own, but they differ by "
                f"{100 * apart:.3g} %"
            )


def forked(device: torch.device) -> AbstractContextManager[None]:
    """Return a context at whose end the states of the random generators are what they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def reason_of(error: BaseException) -> str:
    """Return the class and the first line of an error, or of the one that caused it, as a compiler reports it."""
    while (cause := getattr(error, "inner_exception", None) or error.__cause__) is not None:  # torch has the former
        error = cause
    told = (str(error).strip().splitlines() or [""])[0]
    return told if isinstance(error, PurebenchError) else f"{type(error).__name__}: {told}"
