"""Chains of steps on images: seeded noise, exact gradients with little memory, and steps along a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from purebench.core.compute.entered import entered

Step = Callable[[Tensor], Tensor]


def draw_seeds(count: int) -> list[int]:
    """Draw seeds for `count` noises from torch's global generator."""
    seeds: list[int] = torch.randint(2**62, (count,)).tolist()
    return seeds


def seeded_noise(x: Tensor, seed: int) -> Tensor:
    """Return standard normal noise like x, determined by the seed and the device's generator.

    Args:
        x: tensor whose shape, type and device the noise has.
        seed: seed of the noise.
    """
    generator = torch.Generator(device=x.device).manual_seed(seed)
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class Chain(torch.autograd.Function):
    """Sequence of steps that keeps only the states [N,C,H,W] between them for the backward pass.

    The backward pass recomputes each step, from the last to the first, together with its gradient. torch's own
    checkpoints would keep a graph of every step without its tensors, and would place states between the features in
    memory, where they fragment the heap: a hundred steps took four times the memory of ten. Gradients flow only to the
    state, not to the network: everything of the image that a step needs must be part of the state.
    """

    @staticmethod
    def forward(context: Any, state: Tensor, steps: Sequence[Step], every: bool) -> Tensor:
        """Return the state after all steps; with `every`, all states [S+1,N,C,H,W], the first one included."""
        context.steps, context.every = steps, every
        kind = state.device.type
        context.autocast = torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        context.weights = entered()
        kept = state.new_empty(len(steps) + every, *state.shape)
        for place, step in enumerate(steps):
            kept[place].copy_(state)
            state = step(state)
        if every:
            kept[-1].copy_(state)
        context.save_for_backward(kept)
        return kept if every else state

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient at the state before all steps; the gradients at all states are added on the way."""
        (given,), (kept,), count = gradients, context.saved_tensors, len(context.steps)
        gradient = given[-1] if context.every else given
        for place in reversed(range(count)):
            leaf = kept[place].detach().requires_grad_()
            with torch.enable_grad(), context.autocast, context.weights:
                after = context.steps[place](leaf)
            (gradient,) = torch.autograd.grad(after, leaf, gradient)
            if context.every:
                gradient = gradient + given[place]
        return gradient, None, None


def run(state: Tensor, steps: Sequence[Step], checkpointed: bool) -> Tensor:
    """Run steps one after the other.

    Args:
        state: the state before the steps.
        steps: the steps.
        checkpointed: whether to run them as a Chain when a gradient is required.

    Returns:
        The state after all steps.
    """
    if checkpointed and torch.is_grad_enabled() and state.requires_grad:
        chained: Tensor = Chain.apply(state, steps, False)
        return chained
    for step in steps:
        state = step(state)
    return state


def run_through(state: Tensor, steps: Sequence[Step], checkpointed: bool) -> Sequence[Tensor]:
    """Run steps as `run` does, and return the state after each of them.

    Gradients may flow back from every state. A Chain adds them during its one backward pass, so that its memory and its
    time are those of `run`, apart from one more copy of the states.

    Args:
        state: the state before the steps.
        steps: the steps.
        checkpointed: whether to run them as a Chain when a gradient is required.

    Returns:
        The state after each step; the last one is that of `run`, bit for bit.
    """
    if checkpointed and torch.is_grad_enabled() and state.requires_grad:
        return Chain.apply(state, steps, True).unbind()[1:]  # type: ignore[no-any-return]
    found = []
    for step in steps:
        state = step(state)
        found.append(state)
    return found


def gradient_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Compute the gradient of a function of N points, even where gradients are disabled.

    The gradient can itself be differentiated where `at` requires gradients; a step along it then has its exact
    derivative.

    Args:
        function: the function, [N,…] → [N].
        at: the points [N,…].

    Returns:
        The gradient [N,…].
    """
    differentiated = torch.is_grad_enabled() and at.requires_grad
    with torch.enable_grad():
        asked = at if differentiated else at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(asked).sum(), asked, create_graph=differentiated)
    return gradient
