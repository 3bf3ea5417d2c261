"""Reads the weights of NVIDIA's network pickles (EDM, StyleGAN), without running the source text inside them.

Such a pickle holds each module as its source text and its state, and unpickling runs the text. Here the modules become
plain objects with their state, from which only the tensors are taken; nothing of the file is executed or imported.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError

ENDING = ".pkl"


class Module:
    """A module of a pickle: its attributes, among them torch's `_parameters`, `_buffers` and `_modules`."""

    def __init__(self, *_: object):
        self.state: Mapping[str, Any] = {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Keep the attributes."""
        self.state = state

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters and the persistent buffers by name, as `state_dict` names them."""
        left_out = self.state.get("_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers"):
            for name, value in self.state.get(group, {}).items():
                if isinstance(value, Tensor) and name not in left_out:
                    yield f"{prefix}{name}", value.detach()
        for name, inner in self.state.get("_modules", {}).items():
            if isinstance(inner, Module):
                yield from inner.tensors(f"{prefix}{name}.")


def _persistent(meta: Mapping[str, Any]) -> Module:
    """Return the module of a persistent class."""
    made = Module()
    made.state = meta["state"]
    return made


def _storage(data: bytes) -> Any:
    """Return the storage of a tensor from its bytes, as torch saved it."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


ALLOWED: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "dnnlib.util.EasyDict": dict,
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "torch.storage._load_from_bytes": _storage,
    "builtins.set": set,
}
"""Functions that a pickle may name; none of them runs code of the file."""


class Reader(pickle.Unpickler):
    """Unpickler that creates tensors, plain values and modules as plain objects."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what may stand for a name of the pickle. Raises UnpicklingError for any other name."""
        known = ALLOWED.get(f"{module}.{name}")
        if known is not None:
            return known
        if module.startswith(("torch.nn.modules.", "torch_utils.", "training.")):
            return Module
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")


def read_persistent(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read the state dicts of the networks of a pickle.

    Args:
        path: the file, such as `edm-cifar10-32x32-uncond-vp.pkl`.

    Returns:
        The weights of each network by the name of its entry, such as `ema`.

    Raises:
        PurebenchError: If the file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise PurebenchError(f"{path}: expected a network pickle ({ENDING}), but there is no such file.")
    try:
        with path.open("rb") as file:
            content = Reader(file).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise PurebenchError(
            f"{path}: expected a network pickle of NVIDIA's layout, but it cannot be read as one "
            f"({str(error)[:200]}); fetch it again."
        ) from error
    entries = content.items() if isinstance(content, Mapping) else ()
    found = {str(name): dict(value.tensors()) for name, value in entries if isinstance(value, Module)}
    found = {name: state for name, state in found.items() if state}
    if not found:
        raise PurebenchError(
            f"{path}: expected a dict with a network, such as 'ema', but got {type(content).__name__}."
        )
    return found
