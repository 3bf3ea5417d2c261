"""Reading and writing of weights: safetensors files, loaded strictly.

The bundled weights are stored in fp16. The header of a file states its kind and its architecture.
"""

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

from purebench.core.errors import PurebenchError, did_you_mean

BUNDLED = Path(__file__).with_name("weights")
CURE = "fetch it again (reinstall purebench, if it is a bundled one) or train it anew."
Model = TypeVar("Model", bound=nn.Module)


def find(weights: str) -> Path:
    """Return the file of bundled weights, or the path as given.

    Args:
        weights: name of bundled weights, or path to a .safetensors file.

    Returns:
        The path of an existing file.

    Raises:
        PurebenchError: If there is no such file.
    """
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = BUNDLED / f"{weights}.safetensors"
    if not path.is_file():
        names = [found.stem for found in BUNDLED.glob("*.safetensors")]
        hint = did_you_mean(weights, names)
        raise PurebenchError(
            f"weights: expected a .safetensors file or a bundled name, but {weights!r} is neither; {hint}"
        )
    return path


def kind_in(path: Path) -> str:
    """Return the kind of model that the header of a .safetensors file states; empty if it states none.

    Raises:
        PurebenchError: If the file is cut short or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get("kind", ""))
    except (SafetensorError, OSError) as error:
        raise PurebenchError(
            f"{path}: expected safetensors, but the file is cut short or damaged ({brief(error)}); {CURE}"
        ) from error


def load(weights: str, kind: str, build: Callable[..., Model]) -> Model:
    """Load a model in eval mode, in float32, without parameter gradients.

    Args:
        weights: a bundled name or a path to a .safetensors file written by `save`.
        kind: the kind of model that the header of the file must state.
        build: builds the model; it is called with the architecture that the file states.

    Returns:
        The model with the weights of the file.

    Raises:
        PurebenchError: If the file is missing, cut short or damaged, holds another kind of model, or if its keys or
            shapes do not fit.
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
    """Check that the weights of a file fit a model.

    Args:
        path: the file, for the error message.
        wanted: the state dict of the model.
        got: the weights of the file by key.

    Raises:
        PurebenchError: For the first key that is missing, has another shape, cannot be used as a weight, or is not a
            key of the model.
    """
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
    """Return the error message for an unusable weight, or None if the weight can be used."""
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
    """Return the weights with floating-point tensors in float32; integer tensors are unchanged."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def empty(path: Path, expected: str, build: Callable[[], Model]) -> Model:
    """Build the model of a file without memory for its weights, on the meta device.

    Args:
        path: the file, for error messages only.
        expected: the part of the file that decides the model, for error messages only.
        build: builds the model.

    Raises:
        PurebenchError: If the model cannot be built.
    """
    try:
        with torch.device("meta"):
            return build()
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected {expected}, but building it from them failed: {error}") from error


def filled(path: Path, model: Model, state: Mapping[str, Any]) -> Model:
    """Load weights into a model in float32.

    Args:
        path: the file, for error messages only.
        model: the model; it may be on the meta device, so that no random weights are drawn first.
        state: the weights by key.

    Returns:
        The same model, in eval mode, without parameter gradients.

    Raises:
        PurebenchError: If keys, shapes or values do not fit.
    """
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(in_float32(state), assign=True)
    return model.eval().requires_grad_(False)


def not_finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """Return the first key whose values are not all finite, or None."""
    return next((name for name, value in state.items() if not bool(value.isfinite().all())), None)


def brief(error: Exception) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def write(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Args:
        path: the file to write.
        data: its content.

    Raises:
        PurebenchError: If the file cannot be written, for example because the disk is full.
    """
    scratch = path.with_suffix(".part")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise PurebenchError(
            f"{path}: expected a file that can be written, but writing failed ({brief(error)}); "
            "free space or name another folder."
        ) from error


def save(path: Path, model: nn.Module, kind: str, architecture: Mapping[str, Any], *, half: bool = True) -> None:
    """Write the weights of a model to a safetensors file, atomically.

    Args:
        path: the file to write.
        model: the model.
        kind: the kind of model, written to the header.
        architecture: the arguments that build the model, written to the header as JSON.
        half: whether to store floating-point weights in fp16; integers are always stored unchanged.

    Raises:
        PurebenchError: If weights are not finite (in fp16 where `half`), or the file cannot be written.
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
    """Sort the header of safetensors data alphabetically, because the library's order changes from call to call."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]
