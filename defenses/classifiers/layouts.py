"""The layouts of published classifiers: how each is built, recognised by its keys, and loaded strictly.

The architectures are those of RobustBench and of torchvision.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from purebench.core import third_party
from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import filled
from purebench.defenses.unwrapping import COUNTER, unwrap, with_counters

CLASSES = 1000
"""Number of classes of torchvision's classifiers."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of published classifiers.

    Attributes:
        build: builds the network from the arguments that `infer` returns.
        infer: the arguments of `build` that follow from the weights, or None if they have another layout.
    """

    build: Callable[..., nn.Module]
    infer: Callable[[Mapping[str, Any]], dict[str, Any] | None]


def wide_resnet(*, depth: int = 70, width: int = 16) -> nn.Module:
    """Build RobustBench's WideResNet for CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""
    made: nn.Module = _architectures().wide_resnet.WideResNet(depth=depth, widen_factor=width)
    return made


def dm_wide_resnet(*, depth: int = 70, width: int = 16) -> nn.Module:
    """Build DeepMind's WideResNet for CIFAR-10 with Swish, as RobustBench has it (Gowal et al. 2020, arXiv:2010.03593).

    Its own normalisation does nothing here, because `Normalised` does it. torch's SiLU is Swish and can be derived
    twice, which RobustBench's cannot.
    """
    build = _architectures().dm_wide_resnet.DMWideResNet
    made: nn.Module = build(num_classes=10, depth=depth, width=width, activation_fn=nn.SiLU)
    made.register_buffer("mean", torch.zeros(3, 1, 1, device="cpu"), persistent=False)
    made.register_buffer("std", torch.ones(3, 1, 1, device="cpu"), persistent=False)
    return made


def torchvision_network(*, name: str) -> nn.Module:
    """Build a classifier of torchvision with random weights."""
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about initial weights, which are replaced
        made: nn.Module = models.get_model(name, weights=None)
    return made


def _architectures() -> Any:
    return third_party.robustbench().model_zoo.architectures


def _blocks(state: Mapping[str, Any], first: str, convolution: str) -> dict[str, Any] | None:
    """Return depth and width of a WideResNet, or None.

    Args:
        state: the weights by key.
        first: keys of the first group's blocks, up to their number.
        convolution: key of a block's first convolution.
    """
    pattern = rf"{re.escape(first)}\.\d+\.{convolution}\.weight"
    found = [value for name, value in state.items() if re.fullmatch(pattern, name)]
    if not found or not isinstance(found[0], Tensor) or not found[0].ndim:
        return None
    return {"depth": 6 * len(found) + 4, "width": found[0].shape[0] // 16}


def _torchvision_name(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the name of the classifier of torchvision that has just these keys and shapes, or None.

    No two of them have the same. They are built without memory, which takes seconds for all.
    """
    shapes = _shapes(state)
    if not any(shape[:1] == (CLASSES,) for _, shape in shapes):
        return None
    return next(({"name": name} for name, own in _torchvision_shapes().items() if own == shapes), None)


@cache
def _torchvision_shapes() -> dict[str, frozenset[tuple[str, tuple[int, ...]]]]:
    """Return the keys and shapes of torchvision's classifiers, by their names."""
    from torchvision import models

    return {
        name: _shapes(without_memory(torchvision_network, name=name).state_dict())
        for name in models.list_models(module=models)
    }


def _shapes(state: Mapping[str, Any]) -> frozenset[tuple[str, tuple[int, ...]]]:
    """Return the keys and shapes of weights, without the counters of batches, which old files lack."""
    found = {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
    return frozenset(item for item in found.items() if not item[0].endswith(COUNTER))


LAYOUTS = {
    "wide-resnet": Layout(build=wide_resnet, infer=lambda state: _blocks(state, "block1.layer", "conv1")),
    "dm-wide-resnet": Layout(build=dm_wide_resnet, infer=lambda state: _blocks(state, "layer.0.block", "conv_0")),
    "torchvision": Layout(build=torchvision_network, infer=_torchvision_name),
}
"""Layouts by kind, the name in the header of a converted file."""
PREFIXES = ("module.0.", "0.")
"""Prefixes of keys besides DataParallel's: the place of a classifier after its normalisation."""


class _WithValues(TorchFunctionMode):
    """Creates the tensors that are computed with, not trained, on the CPU, because they need values.

    torchvision's RegNets compute their widths from `torch.arange` and their depths from `torch.tensor`.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, on the CPU if it creates a tensor from numbers."""
        kwargs = dict(kwargs or {})
        if function in (torch.arange, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return function(*args, **kwargs)


def without_memory(build: Callable[..., nn.Module], **architecture: Any) -> nn.Module:
    """Build a network without memory for its weights.

    Args:
        build: builds the network.
        **architecture: its arguments.
    """
    try:
        with torch.device("meta"):
            return build(**architecture)
    except NotImplementedError:
        with torch.device("meta"), _WithValues():
            return build(**architecture)


def kind_of_classifier(content: Mapping[str, Any]) -> str | None:
    """Return the kind of the layout of a checkpoint, or None."""
    state = unwrap(content, *PREFIXES).state
    return next((kind for kind, layout in LAYOUTS.items() if layout.infer(state) is not None), None)


def classifier_network(
    path: Path, content: Mapping[str, Any], kind: str, architecture: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a network from the content of its official file, and load the weights strictly.

    Args:
        path: the file, for error messages only.
        content: its content.
        kind: kind of the layout.
        architecture: arguments of the network; None to infer them from the weights.

    Returns:
        The network, in eval mode, without parameter gradients; its `architecture` builds it again.

    Raises:
        PurebenchError: If keys, shapes or values do not fit.
    """
    unwrapped = unwrap(content, *PREFIXES)
    if architecture is None:
        architecture = LAYOUTS[kind].infer(unwrapped.state)
    if architecture is None:
        some = ", ".join(map(str, list(unwrapped.state)[:3]))
        cure = "leave out --kind" if kind_of_classifier(content) else f"name a checkpoint of the kind {kind}"
        shapes = f", with {CLASSES:,} classes as published" if kind == "torchvision" else ""
        raise PurebenchError(f"{path}: expected the keys of a {kind}{shapes}, but its keys are {some} …; {cure}.")
    model = without_memory(LAYOUTS[kind].build, **architecture)
    weights = with_counters(unwrapped, model.state_dict())
    model = filled(path, model, weights.state)
    model.architecture, model.notes = dict(architecture), weights.notes  # type: ignore[assignment]
    return model
