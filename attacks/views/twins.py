"""Copies of a module in which some convolutions and batch norms act otherwise; the module itself is left as it is.

A copy has the classes of the original, so that the same code runs, and shares every attribute and tensor with it, and
every module but those that are changed and those above them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
KNOWN = vars(nn.Conv2d(1, 1, 1, device="meta")).keys() | vars(nn.BatchNorm2d(1, device="meta")).keys()
"""What a layer has by itself; one that carries more was meddled with."""


class Role(Protocol):
    """What the twins of layers do at a pass."""

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """The answer of a convolution's twin."""
        ...

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """The answer of a batch norm's twin."""
        ...


class TwinConv(nn.Conv2d):
    """The twin of a convolution."""

    role: Role

    def forward(self, x: Tensor) -> Tensor:
        """What its role has it answer."""
        return self.role.convolve(self, x)


class TwinNorm(nn.BatchNorm2d):
    """The twin of a batch norm."""

    role: Role

    def forward(self, z: Tensor) -> Tensor:
        """What its role has it answer."""
        return self.role.normalise(self, z)


def untouched(module: nn.Module) -> bool:
    """Whether a call of the module does what its class says, and nothing more."""
    own = vars(module)
    return not ("forward" in own or isinstance(module, torch.jit.ScriptModule) or any(own.get(name) for name in HOOKS))


def layers(module: nn.Module, known: set[int] | None = None) -> Iterator[nn.Module]:
    """The convolutions and batch norms that may be folded, once each; nothing inside modules that were touched."""
    known = set() if known is None else known
    if id(module) in known or not untouched(module):
        return
    known.add(id(module))
    if type(module) is nn.Conv2d:
        fits = not isinstance(module.padding, str)
    else:
        fits = type(module) is nn.BatchNorm2d and not module.training and module.running_var is not None
    if fits and usual(module):
        yield module
    for child in module.children():
        yield from layers(child, known)


def usual(layer: nn.Module) -> bool:
    """Whether a layer has its class's own attributes and plain floating tensors."""
    tensors = [one for _, _, one in held(layer) if one.ndim]  # but for the count of batches
    plain = all(type(one) in (Tensor, nn.Parameter) and one.is_floating_point() for one in tensors)
    return plain and not vars(layer).keys() - KNOWN


def held(layer: nn.Module) -> Iterator[tuple[dict[str, Tensor | None], str, Tensor]]:
    """A layer's own parameters and buffers: the dict that each is in, its name there, and it."""
    for where in (vars(layer)["_parameters"], vars(layer)["_buffers"]):
        for name, one in where.items():
            if one is not None:
                yield where, name, one


def twin(layer: nn.Module, role: Role) -> nn.Module:
    """A convolution or batch norm with the same tensors that does as its role says; `origin` is the given one."""
    copy = shallow(layer, TwinConv if isinstance(layer, nn.Conv2d) else TwinNorm)
    vars(copy).update(role=role, origin=layer)
    return copy


def shallow(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Another object of that class with the same attributes, the very same things."""
    copy: nn.Module = object.__new__(kind)
    vars(copy).update(vars(module))
    return copy


def rebuilt(
    module: nn.Module, changed: Mapping[int, nn.Module], known: dict[int, nn.Module] | None = None
) -> nn.Module:
    """The module with some of its descendants changed, by their id; copies only the modules above those."""
    known = {} if known is None else known
    if id(module) in changed:
        return changed[id(module)]
    if id(module) in known or not untouched(module):
        return known.get(id(module), module)
    known[id(module)] = module  # ends a circle of modules
    children = vars(module)["_modules"]
    new = {name: None if child is None else rebuilt(child, changed, known) for name, child in children.items()}
    if any(new[name] is not child for name, child in children.items()):
        known[id(module)] = copy = shallow(module, type(module))
        vars(copy)["_modules"] = type(children)(new)
    return known[id(module)]
