"""Copies a module so that some convolutions and batch norms behave differently, without changing the module itself.

A copy has the classes of the original, so that the same code runs. It shares every attribute and tensor with the
original, and every module except those that are changed and their ancestors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
KNOWN = vars(nn.Conv2d(1, 1, 1, device="meta")).keys() | vars(nn.BatchNorm2d(1, device="meta")).keys()
"""Attributes that a layer has by default; extra attributes mean that the layer was modified."""


class Role(Protocol):
    """Behaviour of the copies of layers in a forward pass."""

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """Return the output of the copy of a convolution."""
        ...

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """Return the output of the copy of a batch norm."""
        ...


class TwinConv(nn.Conv2d):
    """Copy of a convolution whose forward pass is defined by its role."""

    role: Role

    def forward(self, x: Tensor) -> Tensor:
        """Return the output that the role defines."""
        return self.role.convolve(self, x)


class TwinNorm(nn.BatchNorm2d):
    """Copy of a batch norm whose forward pass is defined by its role."""

    role: Role

    def forward(self, z: Tensor) -> Tensor:
        """Return the output that the role defines."""
        return self.role.normalise(self, z)


def untouched(module: nn.Module) -> bool:
    """Return whether a call of the module runs only the `forward` of its class, without hooks or scripting."""
    own = vars(module)
    return not ("forward" in own or isinstance(module, torch.jit.ScriptModule) or any(own.get(name) for name in HOOKS))


def layers(module: nn.Module, known: set[int] | None = None) -> Iterator[nn.Module]:
    """Yield the convolutions and batch norms that may be folded, once each; nothing inside modified modules."""
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
    """Return whether a layer has only its class's own attributes and plain floating-point tensors."""
    tensors = [one for _, _, one in held(layer) if one.ndim]  # all but the count of batches
    plain = all(type(one) in (Tensor, nn.Parameter) and one.is_floating_point() for one in tensors)
    return plain and not vars(layer).keys() - KNOWN


def held(layer: nn.Module) -> Iterator[tuple[dict[str, Tensor | None], str, Tensor]]:
    """Yield a layer's own parameters and buffers as (dict that contains it, name in the dict, tensor)."""
    for where in (vars(layer)["_parameters"], vars(layer)["_buffers"]):
        for name, one in where.items():
            if one is not None:
                yield where, name, one


def twin(layer: nn.Module, role: Role) -> nn.Module:
    """Return a copy of a convolution or batch norm that follows a role and has the same tensors.

    The attribute `origin` of the copy is the given layer.

    Args:
        layer: The convolution or batch norm.
        role: Defines the output of the copy.
    """
    copy = shallow(layer, TwinConv if isinstance(layer, nn.Conv2d) else TwinNorm)
    vars(copy).update(role=role, origin=layer)
    return copy


def shallow(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Return a new object of the given class with the same attributes; they are shared, not copied."""
    copy: nn.Module = object.__new__(kind)
    vars(copy).update(vars(module))
    return copy


def rebuilt(
    module: nn.Module, changed: Mapping[int, nn.Module], known: dict[int, nn.Module] | None = None
) -> nn.Module:
    """Return the module with some of its descendants replaced; only their ancestors are copied.

    Args:
        module: The module; it is not changed.
        changed: Replacements by the id of the original module.
        known: Modules that were visited already, by id; for the recursion.
    """
    known = {} if known is None else known
    if id(module) in changed:
        return changed[id(module)]
    if id(module) in known or not untouched(module):
        return known.get(id(module), module)
    known[id(module)] = module  # ends the recursion where modules contain each other
    children = vars(module)["_modules"]
    new = {name: None if child is None else rebuilt(child, changed, known) for name, child in children.items()}
    if any(new[name] is not child for name, child in children.items()):
        known[id(module)] = copy = shallow(module, type(module))
        vars(copy)["_modules"] = type(children)(new)
    return known[id(module)]
