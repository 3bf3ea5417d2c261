"""Finds and reads the checkpoints that authors publish, without running code that is stored in a pickle."""

from __future__ import annotations

import os
import re
import shlex
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from torch import nn

from purebench.core.errors import Missing, PurebenchError
from purebench.core.files.published import find_published
from purebench.defenses import checkpoints
from purebench.defenses.checkpoints import brief

CONVERTED = ".safetensors"
Content = Mapping[str, Any]
Read = Callable[[Path, Content, float], nn.Module]
"""(path, for error messages; content of the file; temperature of an NVAE) → the model, loaded strictly."""
Build = Callable[..., nn.Module]
"""An architecture → the model."""
NO_TEMPERATURE = 1.0
"""Temperature that is passed for models that do not use one."""
ENDINGS = (".pt", ".pth", ".ckpt")
DAMAGED = (RuntimeError, EOFError, BadZipFile, UnpicklingError, OSError, LookupError, ValueError, TypeError)
"""Exceptions of torch.load for a file that is cut short, damaged, or not written by torch."""
NOT_HERE = (ImportError, AttributeError)
"""Exceptions of unpickling for classes of a package that is not installed."""


def models_home() -> Path:
    """Return the folder of third-party models: $PUREBENCH_MODELS, else one in the user's data folder."""
    import platformdirs

    return Path(os.environ.get("PUREBENCH_MODELS") or platformdirs.user_data_path("purebench") / "models")


def find_official(
    file: str,
    published: str,
    weights: str | None = None,
    *,
    also: Sequence[str] = (),
    size: int | None = None,
    digest: str = "",
    licence: str = "",
    download: str = "",
) -> Path:
    """Return the path of a published file or of its conversion.

    Args:
        file: the authors' name of the file, relative to the folder $PUREBENCH_MODELS. A conversion has the same name
            with the ending .safetensors.
        published: address where the file is published, for the error message.
        weights: path of the file, instead of `file` in the folder $PUREBENCH_MODELS.
        also: other names of the same weights in the folder $PUREBENCH_MODELS, for which no `weights` were given.
        size: size of the published file in bytes, for the error message.
        digest: hash of the published file, for the error message.
        licence: licence of the published file, for the error message.
        download: address of the file itself, if it can be downloaded without a login.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
    """
    places = [Path(weights).expanduser()] if weights else [models_home() / name for name in (file, *also)]
    others = [place for name in places for place in (name, name.with_suffix(CONVERTED))]
    return find_published(Missing(str(places[0]), published, size, digest, licence, download), others)


def read_official(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the top-level dict of a checkpoint that torch saved, on the CPU.

    Args:
        path: the checkpoint.
        trust: whether to unpickle any content, which runs any code in it; only at the user's request (`purebench
            convert --trust`). argparse's Namespaces (many authors' `opts`) then become dicts, and modules their state
            dicts; a file that is a module is read as its `state_dict`. Otherwise only tensors and plain values are
            created.

    Raises:
        PurebenchError: If the file is missing, cut short or damaged, holds more than tensors and plain values, or is
            not a dict.
    """
    path = Path(path)
    if not path.is_file():
        raise PurebenchError(
            f"{path}: expected a checkpoint ({', '.join(ENDINGS)}), but there is no such file; name the authors' own."
        )
    try:
        data = torch.load(path, map_location="cpu", weights_only=not trust)
        data = _plain({"state_dict": data} if isinstance(data, nn.Module) else data) if trust else data
    except UnpicklingError as error:
        if name := _forbidden(str(error)):
            command = shlex.join(["purebench", "convert", "--trust", str(path), str(path.with_suffix(CONVERTED))])
            raise PurebenchError(
                f"{path}: expected only tensors and plain values, but the file holds a {name}, and unpickling one can "
                f"run any code; if you trust its authors, convert it once ({command}), and remove {path.name}, which "
                "is looked for first."
            ) from error
        raise PurebenchError(_cut(path, error)) from error
    except NOT_HERE as error:
        raise PurebenchError(
            f"{path}: expected classes that can be imported here, but {brief(error)}; convert it where it was made."
        ) from error
    except DAMAGED as error:
        raise PurebenchError(_cut(path, error)) from error
    if not isinstance(data, dict):
        raise PurebenchError(f"{path}: expected a checkpoint that is a dict, but got a {type(data).__name__}.")
    return data


def load_official(path: Path, kind: str, read: Read, build: Build, *, temperature: float = NO_TEMPERATURE) -> nn.Module:
    """Load a model from its official file, or from the safetensors file that it was converted to.

    Args:
        path: the file.
        kind: the kind that the header of a converted file must state.
        read: reads the official file.
        build: builds the model of a converted file.
        temperature: temperature of an NVAE's samples. Its batch statistics were estimated for one temperature, so a
            converted file has only that one.

    Returns:
        The model, loaded strictly.

    Raises:
        PurebenchError: If the file cannot be read, or is of another kind or temperature.
    """
    if path.suffix != CONVERTED:
        return read(path, read_official(path), temperature)
    model = checkpoints.load(str(path), kind, build)
    own = getattr(model, "temperature", temperature)
    if own != temperature:
        raise PurebenchError(
            f"{path}: expected an NVAE converted for the temperature {temperature}, but got {own}; "
            f"convert it again (--temperature {temperature})."
        )
    return model


def _forbidden(message: str) -> str | None:
    """Return the global that torch refuses to load, as torch names it, or None if the error has another cause.

    >>> _forbidden("WeightsUnpickler error: Unsupported global: GLOBAL argparse.Namespace was not an allowed global")
    'argparse.Namespace'
    """
    found = re.search(r"GLOBAL ([\w.]+)", message)
    return found.group(1) if found else None


def _cut(path: Path, error: Exception) -> str:
    reason = brief(error)[:120]
    return f"{path}: expected a file that torch saved, but it is cut short or damaged ({reason}); fetch it again."


def _plain(value: Any) -> Any:
    """Return the value with Namespaces and modules converted to dicts, at any depth."""
    if isinstance(value, nn.Module):
        return value.state_dict()
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
