"""Weights on disk: safetensors in fp16, with the model's kind and architecture in the header, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from purebench.errors import PurebenchError, nearest

BUNDLED = Path(__file__).with_name("weights")
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
    Raises PurebenchError for a missing or cut file, another kind of model, or keys and shapes that do not fit.
    """
    path = find(weights)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PurebenchError(
            f"{path}: expected safetensors, but the file is cut short or damaged ({error})."
        ) from error
    if header.get("kind") != kind:
        came = header.get("kind") or "a file without purebench's header"
        raise PurebenchError(f"{path}: expected weights of a {kind!r}, but got {came!r}; name the right file.")
    try:
        model = build(**json.loads(header["architecture"]))
    except (KeyError, ValueError, TypeError) as error:
        raise PurebenchError(
            f"{path}: its architecture is not one of this version's ({error}); train it anew."
        ) from error
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return model.eval().requires_grad_(False)


def check_keys(path: Path, wanted: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor]) -> None:
    """Raises PurebenchError naming the first missing, unknown or mis-shaped key."""
    for name in wanted:
        if name not in got:
            raise PurebenchError(f"{path}: expected the key {name!r}, but it is missing.")
        if wanted[name].shape != got[name].shape:
            expected, came = list(wanted[name].shape), list(got[name].shape)
            raise PurebenchError(f"{path}: expected {name!r} of shape {expected}, but got {came}.")
    for name in got:
        if name not in wanted:
            raise PurebenchError(f"{path}: got the unknown key {name!r}; {nearest(name, wanted)}")


def save(path: Path, model: nn.Module, kind: str, architecture: Mapping[str, Any]) -> None:
    """Writes weights as fp16 (integers as they are) at once or not at all."""
    state = {
        name: (value.detach().half() if value.is_floating_point() else value.detach()).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    scratch = path.with_suffix(".part")
    save_file(
        state,
        scratch,
        metadata={"kind": kind, "architecture": json.dumps(dict(architecture), sort_keys=True)},
    )
    scratch.replace(path)
