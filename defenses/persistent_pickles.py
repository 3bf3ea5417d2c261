"""Reads the weights of NVIDIA's network pickles (EDM, StyleGAN), without running the source text inside them.

Such a pickle holds each module as its source text and its state, and unpickling runs the text. Here the modules become
plain objects with their state, from which only the tensors and the name of the outermost class are taken; nothing of
the file is executed or imported.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError

ENDING = ".pkl"


class Network(dict[str, Tensor]):
    """The weights of a network by key, as `state_dict` names them.

    Attributes:
        class_name: name of the network's class, such as `EDMPrecond`, which its keys do not reveal; empty if the pickle
            does not state it.
    """

    def __init__(self, weights: Mapping[str, Tensor], class_name: str):
        super().__init__(weights)
        self.class_name = class_name


class Forbidden(pickle.UnpicklingError):
    """A pickle names something that is not in ALLOWED."""


class Module:
    """A module of a pickle.

    Attributes:
        state: its attributes, among them torch's `_parameters`, `_buffers` and `_modules`.
        class_name: name of its class, if the pickle has its source text.
    """

    state: Mapping[str, Any] = MappingProxyType({})  # of the class, because unpickling does not call __init__
    class_name: str = ""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Keep the attributes."""
        self.state = state

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters and the persistent buffers by name, as `state_dict` names them."""
        if not isinstance(self.state, Mapping):
            raise pickle.UnpicklingError(f"the state of a module is a {type(self.state).__name__}, not a dict")
        left_out = self.state.get("_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers"):
            for name, value in self._group(group).items():
                if isinstance(value, Tensor) and name not in left_out:
                    yield f"{prefix}{name}", value.detach()
        for name, inner in self._group("_modules").items():
            if isinstance(inner, Module):
                yield from inner.tensors(f"{prefix}{name}.")

    def _group(self, name: str) -> Mapping[str, Any]:
        """Return one of the dicts that torch keeps in a module. Raises UnpicklingError if it is none."""
        group = self.state.get(name, {})
        if not isinstance(group, Mapping):
            raise pickle.UnpicklingError(f"{name} of a module is a {type(group).__name__}, not a dict")
        return group


class Ignored:
    """A value of a pickle that is not a weight, such as a scalar of numpy."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        """Ignore the attributes."""


def _persistent(meta: Mapping[str, Any]) -> Module:
    """Return the module of a persistent class."""
    made = Module()
    made.state, made.class_name = meta["state"] or {}, str(meta.get("class_name", ""))
    return made


def _bytes(text: str, *_: object) -> bytes:
    """Return bytes that a pickle holds as text of the same code points."""
    return text.encode("latin1")


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
    "__builtin__.set": set,  # in the protocols of Python 2
    "_codecs.encode": _bytes,  # in the protocols of Python 2
    "numpy.dtype": Ignored,
    "numpy.core.multiarray.scalar": Ignored,  # of numpy 1
    "numpy._core.multiarray.scalar": Ignored,  # of numpy 2
}
"""Replacements for the names that a pickle may contain; none of them runs code of the file. EDM's networks have scalars
of numpy as arguments, such as sqrt(0.5)."""


SIZED = ("PUT", "BINPUT", "LONG_BINPUT", "FRAME")
"""Opcodes with a number for which an unpickler reserves memory at once."""


class Reader(pickle.Unpickler):
    """Unpickler that creates tensors, plain values and modules as plain objects."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what may stand for a name of the pickle. Raises UnpicklingError for any other name."""
        known = ALLOWED.get(f"{module}.{name}")
        if known is not None:
            return known
        if module.startswith(("torch.nn.modules.", "torch_utils.", "training.")):
            return Module
        raise Forbidden(f"{module}.{name}")


def _check_numbers(data: bytes) -> None:
    """Check that a pickle is complete and asks for no more memory than its size explains, without loading it.

    Raises:
        UnpicklingError: If an index of its memo or the length of a frame is larger than the pickle.
        ValueError: If it is cut short, also within a value whose length it states.
    """
    for code, value, _ in pickletools.genops(data):
        if code.name in SIZED and isinstance(value, int) and value > len(data):
            raise pickle.UnpicklingError(f"{code.name} of {value} in a file of {len(data)} bytes")


def read_persistent(path: Path) -> dict[str, Network]:
    """Read the state dicts of the networks of a pickle.

    Args:
        path: the file, such as `edm-cifar10-32x32-uncond-vp.pkl`.

    Returns:
        The weights of each network by the name of its entry, such as `ema`.

    Raises:
        PurebenchError: If the file is missing, damaged, or names what is not in ALLOWED.
    """
    if not path.is_file():
        raise PurebenchError(f"{path}: expected a network pickle ({ENDING}), but there is no such file.")
    try:
        data = path.read_bytes()
        _check_numbers(data)
        content = Reader(io.BytesIO(data)).load()
        entries = content.items() if isinstance(content, Mapping) else ()
        found = {
            str(name): Network(dict(value.tensors()), value.class_name)
            for name, value in entries
            if isinstance(value, Module)
        }
    except Forbidden as error:
        weights = str(path.with_suffix(".pt"))
        raise PurebenchError(
            f"{path}: expected only modules and plain values of NVIDIA's networks, but it names {error}, which is not "
            "read because it could run code; if you trust its authors, save the weights alone where their code can be "
            f"imported (import pickle, torch; torch.save(pickle.load(open({str(path)!r}, 'rb'))['ema'].state_dict(), "
            f"{weights!r})) and name that file."
        ) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        RuntimeError,  # RecursionError for a module that contains itself
    ) as error:
        raise PurebenchError(
            f"{path}: expected a network pickle of NVIDIA's layout, but it cannot be read as one "
            f"({str(error)[:200] or type(error).__name__}); fetch it again."
        ) from error
    found = {name: state for name, state in found.items() if state}
    if not found:
        came = "one without weights" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise PurebenchError(
            f"{path}: expected a dict with a network, such as 'ema', but got {came}; name another pickle."
        )
    return found
