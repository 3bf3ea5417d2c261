"""Hashes the weights and arrays of a module, as part of the keys of its jobs."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


def fingerprint(module: nn.Module) -> str:
    """Return the sha256 of the names, types, shapes and bytes of all weights and buffers, 64 hex digits.

    A quantised layer stores other values than tensors; these are hashed by their parts: integers, scales, packed
    weights.
    """
    digest = hashlib.sha256()
    for name, value in (*module.state_dict().items(), *_kept_aside(module)):
        _digest(digest, name, value)
    return digest.hexdigest()


def _kept_aside(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield arrays and weights that the state dictionary lacks: in attributes, lists, closures and partials."""
    seen = {id(one) for one in (*module.modules(), *module.parameters(), *module.buffers())}
    left: list[tuple[str, object]] = [
        (f"{name}.{key}", value)
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if not key.startswith("_")
    ]
    while left:
        name, value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, np.ndarray):
            yield name, (value.dtype.str, value.shape, value.tobytes() if value.dtype.kind in "biufc" else b"")
        elif isinstance(value, nn.Module):
            yield from ((f"{name}.{key}", one) for key, one in value.state_dict().items())
            left += [(f"{name}.{key}", one) for key, one in vars(value).items() if not key.startswith("_")]
        elif isinstance(value, list | tuple):
            left += [(f"{name}.{number}", one) for number, one in enumerate(value)]
        elif isinstance(value, dict):
            left += [(f"{name}.{number}", one) for number, one in enumerate(value.values())]
        elif isinstance(value, functools.partial):
            left += [(f"{name}.func", value.func), (f"{name}.args", value.args), (f"{name}.keywords", value.keywords)]
        elif isinstance(value, types.MethodType):
            left.append((name, value.__self__))
        elif isinstance(value, types.FunctionType):
            empty = types.CellType()  # of a variable that has no value yet
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            left += [(f"{name}.{key}", cell.cell_contents) for key, cell in cells if cell != empty]
            left += [(f"{name}.defaults", value.__defaults__), (f"{name}.keyword defaults", value.__kwdefaults__)]


def _digest(digest: hashlib._Hash, name: str, value: object) -> None:
    if isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _digest(digest, f"{name}.{number}", part)
        return
    if not isinstance(value, Tensor):
        digest.update(f"{name}{value!r}".encode())
        return
    flat = value.detach().cpu()
    if flat.is_quantized:
        scales = (
            flat.q_scale()
            if flat.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)
            else (
                flat.q_per_channel_scales().tolist(),
                flat.q_per_channel_zero_points().tolist(),
                flat.q_per_channel_axis(),
            )
        )
        digest.update(f"{scales}".encode())
        flat = flat.int_repr()
    flat = (flat.to_dense() if flat.layout is not torch.strided else flat).contiguous()
    digest.update(f"{name}{flat.dtype}{tuple(flat.shape)}".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
