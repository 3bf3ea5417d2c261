"""Finds the layers of a module that are random in training mode, and keeps them random in evaluation."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from purebench.core.errors import PurebenchError

Module = TypeVar("Module", bound=nn.Module)

STAYS_RANDOM = "stays_random"
"""The attribute of a layer that is also random in evaluation."""


def random_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers that are random in training mode: dropout, and layers with dropout inside."""
    return [part for part in module.modules() if _drops(part)]


def _drops(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.dropout._DropoutNd | nn.AlphaDropout | nn.FeatureAlphaDropout):
        return layer.p > 0
    if isinstance(layer, nn.MultiheadAttention | nn.RNNBase):
        return layer.dropout > 0
    return isinstance(layer, nn.RReLU) or type(layer).__name__ in ("StochasticDepth", "DropPath")


def keep_random_layers_on(module: Module, *kinds: type[nn.Module]) -> Module:
    """Keep the dropout layers of a module on in evaluation (Monte Carlo dropout); batch norm stays in eval mode.

    Args:
        module: any module; it is modified in place and returned.
        kinds: classes of further layers that are random in training mode.

    Returns:
        The module, whose dropout layers stay in training mode inside a `Defense`, as in
            `Defense(keep_random_layers_on(model), random=True)`.

    Raises:
        PurebenchError: the module has no such layer.
    """
    layers = [*random_layers(module), *(part for part in module.modules() if isinstance(part, kinds))]
    if not layers:
        raise PurebenchError(
            f"keep_random_layers_on: expected a module with dropout layers, but {type(module).__name__} has none; "
            "name the classes of its random layers: keep_random_layers_on(module, MyNoise)."
        )
    for layer in layers:
        setattr(layer, STAYS_RANDOM, True)
    return module
