"""Weights on disk: safetensors, the bundled in fp16, with kind and architecture in the header, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from purebench.core.errors import PurebenchError, nearest

BUNDLED = Path(__file__).with_name("weights")
CURE = "fetch it again (reinstall purebench, if it is a bundled one) or train it anew."
Model = TypeVar("Model", bound=nn.Module)


def find(weights: str) -> Path:
    """The file of bundled weights by name, or a path as it is. Raises PurebenchError if there is none."""
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = BUNDLED / f"{weights}.safetensors"
    if not path.is_file():
        names = [found.stem for found in BUNDLED.glob("*.safetensors")]
        hint = nearest(weights, names)
        raise PurebenchError(
            f"weights: expected a .safetensors file or a bundled name, but {weights!r} is neither; {hint}"
        )
    return path


def load(weights: str, kind: str, build: Callable[..., Model]) -> Model:
    """A model in eval mode, without parameter gradients, float32.

    weights: a bundled name or a path to a .safetensors file written by `save`.
    kind: what the file must say it holds; build: called with the architecture that the file states.
    Raises PurebenchError for a missing, cut or damaged file, another kind of model, or keys and shapes that do not
    fit.
    """
    path = find(weights)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PurebenchError(
            f"{path}: expected safetensors, but the file is cut short or damaged ({brief(error)}); {CURE}"
        ) from error
    if header.get("kind") != kind:
        came = header.get("kind") or "a file without purebench's header"
        raise PurebenchError(f"{path}: expected weights of a {kind!r}, but got {came!r}; name the right file.")
    try:
        model = build(**json.loads(header["architecture"]))
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise PurebenchError(
            f"{path}: expected an architecture of this version's {kind!r}, but got another ({brief(error)}); {CURE}"
        ) from error
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(in_float32(state))
    return model.eval().requires_grad_(False)


def check_keys(path: Path, wanted: Mapping[str, torch.Tensor], got: Mapping[str, Any]) -> None:
    """Raises PurebenchError naming the first key that is missing, mis-shaped, of no use as a weight, or unknown."""
    for name, like in wanted.items():
        if name not in got:
            wrapped = f"module.{name}"
            came = f"it is there as {wrapped!r} (DataParallel's prefix)" if wrapped in got else "it is missing"
            raise PurebenchError(f"{path}: expected the key {name!r}, but {came}; {CURE}")
        if fault := _fault(name, like, got[name]):
            raise PurebenchError(f"{path}: {fault}; {CURE}")
    for name in got:
        if name not in wanted:
            raise PurebenchError(f"{path}: expected only the model's keys, but got {name!r} too; {CURE}")


def _fault(name: str, like: torch.Tensor, value: Any) -> str | None:
    """What was expected of a weight and what came, or None if it will do."""
    if not isinstance(value, torch.Tensor):
        return f"expected {name!r} to be a tensor, but got {type(value).__name__}"
    if like.shape != value.shape:
        return f"expected {name!r} of shape {list(like.shape)}, but got {list(value.shape)}"
    odd = value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_complex()
    if odd or (like.is_floating_point() and not value.is_floating_point()):
        return f"expected {name!r} to hold plain {like.dtype}, but got {value.dtype}, {value.layout}, on {value.device}"
    if not bool(value.float().isfinite().all()):
        return f"expected finite weights, but {name!r} holds NaN or infinity"
    return None


def in_float32(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights, whole numbers as they are."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def filled(path: Path, model: Model, state: Mapping[str, Any]) -> Model:
    """The model with these weights in float32, in eval mode without parameter gradients; `path` only names the file.

    model: may be on the meta device, so that no random weights are drawn first.
    Raises PurebenchError for keys, shapes or values that do not fit.
    """
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(in_float32(state), assign=True)
    return model.eval().requires_grad_(False)


def not_finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """The first key whose values are not all finite, if any."""
    return next((name for name, value in state.items() if not bool(value.isfinite().all())), None)


def brief(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def write(path: Path, data: bytes) -> None:
    """Writes a file at once or not at all. Raises PurebenchError if the disk will not take it."""
    scratch = path.with_suffix(".part")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise PurebenchError(
            f"{path}: expected a place to write to, but it is none ({brief(error)}); make room or name another folder."
        ) from error


def save(path: Path, model: nn.Module, kind: str, architecture: Mapping[str, Any], *, half: bool = True) -> None:
    """Writes weights as fp16 (integers as they are), or all as they are, at once or not at all.

    Raises PurebenchError for weights that are not finite in fp16, or if the disk will not take them.
    """
    state = {
        name: (value.detach().half() if half and value.is_floating_point() else value.detach()).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    if strange := not_finite(state):
        wanted, cure = ("finite in fp16", "keep float32, or train at a lower rate.") if half else ("finite", CURE)
        raise PurebenchError(f"{path}: expected weights that are {wanted}, but {strange!r} is not; {cure}")
    header = {"kind": kind, "architecture": json.dumps(dict(architecture), sort_keys=True)}
    write(path, ordered(serialize(state, metadata=header)))


def ordered(data: bytes) -> bytes:
    """The same safetensors with its header in alphabetical order: the library's changes from call to call."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]
