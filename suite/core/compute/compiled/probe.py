"""Finds the networks that a defense calls, and which of them can be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from purebench.core.compute.compiled.agreement import ANSWERS, GRADIENTS, compare, forked, reason_of
from purebench.core.compute.compiled.call_layout import Arguments, Layout
from purebench.core.compute.compiled.networks import Compiled, CompileFailure, Network, Networks

MOST = 4
"""Networks of a defense that are compiled, those with the most parameters: each costs up to a minute per size."""
MOST_LAYOUTS = 2
"""Most layouts of the calls of a compiled network. If the time is passed as a number, each step has its own layout."""
MOST_CALLS = 4
"""Calls of a network that are looked at, with and without gradients each; a chain makes hundreds of equal ones."""


@dataclass(frozen=True)
class Probed:
    """The networks of a defense.

    Attributes:
        networks: Those that are called compiled.
        refused: Why others are not, by name.
    """

    networks: Networks
    refused: dict[str, str]


@dataclass
class _Calls:
    """The first calls of a network in one pass: their arguments, and whether gradients were computed."""

    module: nn.Module
    given: list[tuple[Arguments, bool]] = field(default_factory=list)

    def add(self, given: Arguments) -> None:
        """Add a call, unless there are many of its mode."""
        mode = torch.is_grad_enabled()
        if sum(gradients == mode for _, gradients in self.given) < MOST_CALLS:
            self.given.append((given, mode))


Inside = Callable[[nn.Module], AbstractContextManager[Any]]
"""Returns the context that the passes of a copy of the defense run in."""


def probe(
    make: Callable[[], nn.Module], images: Tensor, largest: int, containers: tuple[type, ...], inside: Inside
) -> Probed:
    """Pass images through a defense, and compile the networks that it calls for the small size.

    A network is a module with submodules that is called by `forward` of a container, such as a purifier, and not by
    another network. Networks that cannot be compiled as one graph, draw random numbers or answer differently are left
    out, and so are those of a purifier whose gradient needs a second derivative of them.

    Args:
        make: Returns a copy of the defense that was never called.
        images: Images [N,C,H,W] in [0,1], at least three. A second pass, without the last one, shows which arguments
            of the networks have one row per image.
        largest: The device batch of the defense.
        containers: Classes whose objects are no networks.
        inside: Returns the context that the passes run in, such as autocast.
    """
    defense = make()
    try:
        first, _ = _recorded(make(), images[: len(images) - 1], containers, inside)
        calls, differentiable = _recorded(defense, images, containers, inside)
    except Exception:  # its jobs report it
        return Probed(Networks((), largest), {})
    refused: dict[str, str] = {}
    every = Networks((), largest)
    for name in _most_parameters(calls):
        layouts = _layouts(first.get(name), calls[name])
        if not layouts:
            refused[name] = "its calls have no argument with one row per image, or differ from call to call"
            continue
        network = Network(name, layouts)
        if reason := _failure(every, network, calls[name], defense, inside):
            refused[name] = reason
        else:
            every = replace(every, networks=(*every.networks, network))
    for networks in (every, replace(every, networks=_classifiers(every))):
        reason = _whole_failure(make, networks, images, inside, differentiable)
        if not reason:
            return Probed(networks, {name: why for name, why in refused.items() if name not in networks.names})
        refused |= dict.fromkeys(networks.names, reason)
    return Probed(Networks((), largest), refused)


def _classifiers(networks: Networks) -> tuple[Network, ...]:
    return tuple(network for network in networks.networks if network.name.split(".")[0] == "classifier")


def _recorded(
    defense: nn.Module, images: Tensor, containers: tuple[type, ...], inside: Inside
) -> tuple[dict[str, _Calls], bool]:
    """Return the calls of outermost networks in a pass, and whether a gradient flows back from the logits."""
    calls: dict[str, _Calls] = {}
    x = images.detach().clone().requires_grad_()
    with _recording(defense, containers, calls):
        with inside(defense):
            logits = defense(x)
        try:
            torch.autograd.grad(logits.sum(), x)
        except RuntimeError:
            return calls, False
    return calls, True


@contextmanager
def _recording(defense: nn.Module, containers: tuple[type, ...], calls: dict[str, _Calls]) -> Iterator[None]:
    depth = 0

    def enter(name: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if depth == 0:
            calls.setdefault(name, _Calls(module)).add(Arguments.of(args, kwargs))
        depth += 1
        try:
            return type(module).forward(module, *args, **kwargs)
        finally:
            depth -= 1

    changed = [
        (name, module)
        for name, module in defense.named_modules()
        if not isinstance(module, containers) and any(True for _ in module.children()) and "forward" not in vars(module)
    ]
    for name, module in changed:
        module.forward = partial(enter, name, module)
    try:
        yield
    finally:
        for _, module in changed:
            del module.forward
    for name in list(calls):
        if any(name.startswith(f"{other}.") for other in calls):
            del calls[name]  # a part of another network, which it is compiled with


def _most_parameters(calls: dict[str, _Calls]) -> list[str]:
    sizes = {name: sum(one.numel() for one in found.module.parameters()) for name, found in calls.items()}
    return sorted(calls, key=lambda name: -sizes[name])[:MOST]


def _layouts(first: _Calls | None, second: _Calls) -> tuple[Layout, ...]:
    if first is None or len(first.given) != len(second.given):
        return ()
    pairs = zip(first.given, second.given, strict=True)
    found = [layout for (one, _), (other, _) in pairs if (layout := Layout.of(one, other)) is not None]
    layouts = tuple(dict.fromkeys(found))
    return layouts if len(layouts) <= MOST_LAYOUTS else ()


def _failure(networks: Networks, network: Network, calls: _Calls, defense: nn.Module, inside: Inside) -> str:
    """Return why a network cannot be compiled in the modes of its calls; empty if it can."""
    try:
        for given, gradients in calls.given:
            args, kwargs = pytree.tree_unflatten(given.leaves, given.structure)
            with inside(defense), torch.set_grad_enabled(gradients):
                networks.call(network, calls.module, *args, **kwargs)
    except CompileFailure as error:
        return error.reason
    return ""


def _whole_failure(
    make: Callable[[], nn.Module], networks: Networks, images: Tensor, inside: Inside, differentiable: bool
) -> str:
    """Return why a pass through the defense fails, or differs, if its networks are compiled; empty if it does not."""

    def answers(compiled: bool) -> tuple[Tensor, Tensor]:
        defense, x = make(), images.detach().clone().requires_grad_()
        with forked(x.device), inside(defense), Compiled(defense, networks) if compiled else nullcontext():
            logits = defense(x)
        gradient = torch.autograd.grad(logits.sum(), x)[0] if differentiable else torch.zeros(0)
        return logits.detach(), gradient

    try:
        expected, found = answers(False), answers(True)
        with inside(make()):  # the precision decides how much they may differ
            compare("answers", expected[:1], found[:1], ANSWERS)
            compare("gradients", expected[1:], found[1:], GRADIENTS)
    except Exception as error:  # torch raises RuntimeError, the compiler any error
        return reason_of(error)
    return ""
