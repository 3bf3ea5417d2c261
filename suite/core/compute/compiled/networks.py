"""Calls networks compiled, in batches of two fixed sizes, so that no further batch size is ever compiled.

A call with many rows is divided into parts of these sizes, the last of which is filled up. The shapes of compiled code
are therefore constants, which neither the order of the calls nor the number of images affects: a result does not depend
on what the process has compiled before. `torch.compile` with a dynamic batch dimension would compile again for some
sizes, and would choose its code by the size that came first.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _get_current_dispatch_mode

from purebench.core.answers import WholeFault
from purebench.core.compute.batching import out_of_memory
from purebench.core.compute.compiled.agreement import check_agreement, reason_of
from purebench.core.compute.compiled.call_layout import Arguments, Layout
from purebench.core.compute.entered import PassContext

BACKEND: str | Callable[..., Any] = "inductor"
"""The backend of `torch.compile`."""
SHARE = 8
"""The large size over the small one: filling up costs at most one call of an eighth of the large size."""


class CompileFailure(WholeFault):
    """A network cannot be compiled, or gives other answers when it is.

    Args:
        name: The name of the network.
        reason: The reason, in one line.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}; run without --compile"


@dataclass(frozen=True)
class Network:
    """A network that a defense calls.

    Attributes:
        name: Its name among the modules of the defense.
        layouts: The calls that are compiled; all others run uncompiled.
    """

    name: str
    layouts: tuple[Layout, ...]


@dataclass
class Networks:
    """The compiled networks of a defense, which its copies share.

    Attributes:
        networks: The networks.
        largest: Rows of a large compiled call: the device batch of the defense.
        compiled: The compiled calls so far: one for each network, layout, size and mode (gradients, precision).
    """

    networks: tuple[Network, ...]
    largest: int
    compiled: dict[Any, Callable[..., Any]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(network.name for network in self.networks)

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of a large and of a small compiled call; equal for a device batch of 1."""
        return self.largest, max(1, self.largest // SHARE)

    def call(self, network: Network, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        """Return the answer of a network, compiled if the call has one of its layouts.

        Args:
            network: The network.
            module: Its module in a copy of the defense.
            *args: The arguments.
            **kwargs: The named arguments.

        Raises:
            CompileFailure: If it cannot be compiled, or gives other answers when it is.
        """
        given = Arguments.of(args, kwargs)
        layout = next((one for one in network.layouts if one.rows(given)), None)
        if layout is None or _get_current_dispatch_mode() is not None:  # modes replace random numbers, or count
            return type(module).forward(module, *args, **kwargs)
        answers: list[list[Any]] = []
        structure: pytree.TreeSpec | None = None
        for start, stop, size in _parts(layout.rows(given), self.sizes):
            answer = self._call(network.name, module, layout, layout.part(given, start, stop, size), size)
            leaves, structure = pytree.tree_flatten(answer)
            answers.append([leaf[: stop - start] if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        assert structure is not None
        joined = [torch.cat(each) if isinstance(each[0], Tensor) else each[0] for each in zip(*answers, strict=True)]
        return pytree.tree_unflatten(joined, structure)

    def _call(self, name: str, module: nn.Module, layout: Layout, given: Arguments, size: int) -> Any:
        gradients = tuple(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in given.leaves)
        key = (name, layout, size, gradients, _mode(given))
        args, kwargs = pytree.tree_unflatten(given.leaves, given.structure)
        if key not in self.compiled:
            self.compiled[key] = self._compile(name, module, given, size)
        with torch.compiler.set_stance("fail_on_recompile"):
            try:
                return self.compiled[key](module, *args, **kwargs)
            except RuntimeError as error:
                if "recompile" not in str(error):
                    raise
                reason = next((line.strip() for line in str(error).splitlines() if "guard" not in line.lower()), "")
                told = "expected a network that is compiled once for a size, but it has to be compiled again"
                raise CompileFailure(name, f"{told} ({reason})") from error

    def _compile(self, name: str, module: nn.Module, given: Arguments, size: int) -> Callable[..., Any]:
        # a code object of its own, because torch keeps compiled code, and limits its number, by code object
        plain = types.FunctionType(_forward.__code__.replace(), _forward.__globals__)
        made: Callable[..., Any] = torch.compile(plain, fullgraph=True, dynamic=False, backend=BACKEND)
        try:
            # without donated buffers, because attacks may pass a graph backwards more than once
            with torch.compiler.set_stance("default"), functorch_config.patch(donated_buffer=False):
                check_agreement(_forward, made, module, given, size)
        except Exception as error:  # the compiler, and what it calls, may raise any error
            if out_of_memory(error):
                raise
            raise CompileFailure(name, reason_of(error)) from error
        return made


class Compiled(PassContext):
    """A context in which the networks of a copy of a defense are called compiled.

    Args:
        defense: The copy.
        networks: Its networks.
    """

    def __init__(self, defense: nn.Module, networks: Networks):
        super().__init__()
        self.defense, self.networks = defense, networks

    def begin(self) -> None:
        """Replace `forward` of the networks."""
        for network in self.networks.networks:
            module = self.defense.get_submodule(network.name)
            module.forward = partial(self.networks.call, network, module)

    def end(self) -> None:
        """Put `forward` back."""
        for network in self.networks.networks:
            del self.defense.get_submodule(network.name).forward


def _forward(module: Any, *args: Any, **kwargs: Any) -> Any:
    return type(module).forward(module, *args, **kwargs)


def _mode(given: Arguments) -> tuple[Any, ...]:
    """Return everything outside the arguments that torch compiles for: gradients, precision and threads."""
    device = next(leaf.device for leaf in given.leaves if isinstance(leaf, Tensor))
    half = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return device, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), half, tf32, torch.get_num_threads()


def _parts(rows: int, sizes: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and compiled size of the parts of a batch, the large ones first."""
    start, (large, small) = 0, sizes
    while start < rows:
        size = large if rows - start >= large else small
        yield start, min(start + size, rows), size
        start += size
