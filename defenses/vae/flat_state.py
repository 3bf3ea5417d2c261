"""Checks of the flat state dicts that the A-VAE and ND-VAE of Serez et al. 2025 were published as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from purebench.core.errors import PurebenchError


def tensors(path: Path, file: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a flat state dict after checking that all entries are tensors.

    Args:
        path: the file, for error messages only.
        file: its content.

    Raises:
        PurebenchError: If an entry is not a tensor; the message names the first.
    """
    for name, value in file.items():
        if not isinstance(value, Tensor):
            raise PurebenchError(
                f"{path}: expected a flat dict of tensors, but {name!r} is a {type(value).__name__}; "
                "name the file of the weights alone, not of the whole training."
            )
    return dict(file)


def check_dimensions(path: Path, state: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> None:
    """Check that the weights whose shapes determine the sizes are there.

    Args:
        path: the file, for error messages only.
        state: the weights by key.
        dimensions: number of dimensions by key.

    Raises:
        PurebenchError: If a key is missing, or has another number of dimensions.
    """
    for name, count in dimensions.items():
        if name not in state:
            raise PurebenchError(f"{path}: expected the key {name!r}, but it is missing; name the authors' own file.")
        if state[name].ndim != count:
            raise PurebenchError(
                f"{path}: expected {name!r} of {count} dimensions, but got {list(state[name].shape)}; "
                "name the authors' own file."
            )
