"""Loads the paper's two StyleGAN2 autoencoders from their authors' files, checked key by key.

Both files are dicts of 'state_dict', 'opts' and 'latent_avg'; other entries, left by the training, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import check_keys, empty, in_float32
from purebench.defenses.mlvgm.official import read_official
from purebench.defenses.mlvgm.stylegan.autoencoder import OfficialAutoencoder
from purebench.defenses.mlvgm.stylegan.e4e import E4E
from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer

Autoencoder = TypeVar("Autoencoder", bound=OfficialAutoencoder)
ONLY = "only the authors' colour checkpoints are supported."


def load_e4e(path: str | Path, **sizes: Any) -> E4E:
    """Load E4E from the official file, in eval mode, in float32, without parameter gradients.

    Args:
        path: the file.
        **sizes: arguments of E4E that the file does not state, where they differ from the official ones.

    Raises:
        PurebenchError: If the file cannot be read, has other options, or keys or shapes do not fit.
    """
    return e4e_from(Path(path), read_official(path), **sizes)


def load_style_transformer(path: str | Path, **sizes: Any) -> StyleTransformer:
    """Load StyleTransformer from the official file; otherwise like `load_e4e`."""
    return style_transformer_from(Path(path), read_official(path), **sizes)


def e4e_from(path: Path, file: Mapping[str, Any], **sizes: Any) -> E4E:
    """Build E4E from the content of its official file.

    Args:
        path: the file, for error messages only.
        file: its content.
        **sizes: arguments of E4E that the file does not state.

    Raises:
        PurebenchError: If the file has other options, or keys or shapes do not fit.
    """
    opts = part(path, file, "opts", Mapping)
    if (kind := part(path, opts, "encoder_type", str)) != "Encoder4Editing":
        raise PurebenchError(f"{path}: expected an encoder of type 'Encoder4Editing', but got {kind!r}; {ONLY}")
    size = part(path, opts, "stylegan_size", int)
    return filled(path, file, lambda: E4E(size=size, **sizes), lambda name: name)


def style_transformer_from(path: Path, file: Mapping[str, Any], **sizes: Any) -> StyleTransformer:
    """Build StyleTransformer from the content of its official file.

    Its networks were saved inside DataParallel: 'encoder.module.…', 'decoder.module.…'. The option learn_in_w is not
    read: it only changes how the average is repeated, and works for a single image only.

    Args:
        path: the file, for error messages only.
        file: its content.
        **sizes: arguments of StyleTransformer that the file does not state.

    Raises:
        PurebenchError: If the file has other options, or keys or shapes do not fit.
    """
    opts = part(path, file, "opts", Mapping)
    if (colours := part(path, opts, "input_nc", int)) != 3:
        raise PurebenchError(f"{path}: expected input_nc of 3 (colour images), but got {colours}; {ONLY}")
    size = part(path, opts, "output_size", int)
    return filled(path, file, lambda: StyleTransformer(size=size, **sizes), parallel)


def parallel(name: str) -> str:
    """Return the name of a parameter as DataParallel saves it.

    >>> parallel("encoder.body.0.weight")
    'encoder.module.body.0.weight'
    """
    network, rest = name.split(".", maxsplit=1)
    return f"{network}.module.{rest}"


def filled(
    path: Path, file: Mapping[str, Any], build: Callable[[], Autoencoder], official: Callable[[str], str]
) -> Autoencoder:
    """Build a model and load the weights of a file in float32.

    Args:
        path: the file, for error messages only.
        file: its content.
        build: builds the model.
        official: maps the model's names of weights to those of the file.

    Raises:
        PurebenchError: If the model cannot be built, or keys, shapes or values do not fit.
    """
    state = part(path, file, "state_dict", Mapping)
    model = empty(path, "options that make a model", build)
    wanted = model.state_dict()
    names = {name: official(name) for name in wanted if name != "latent_avg"}
    check_keys(path, {names[name]: wanted[name] for name in names}, state)
    found = {"latent_avg": average(path, file, wanted["latent_avg"])}
    check_keys(path, {"latent_avg": wanted["latent_avg"]}, found)
    found |= {name: state[names[name]] for name in names}
    model.load_state_dict(in_float32(found), assign=True)
    return model.eval().requires_grad_(False)


def average(path: Path, file: Mapping[str, Any], like: Tensor) -> Tensor:
    """Return the file's average of w as [codes,D], or zeros if the training did not start from it.

    The file may hold one average for all codes.

    Args:
        path: the file, for error messages only.
        file: its content.
        like: tensor of the shape [codes,D].

    Raises:
        PurebenchError: If an entry is missing, or the average has another shape.
    """
    opts = part(path, file, "opts", Mapping)
    if not part(path, opts, "start_from_latent_avg", bool):
        return torch.zeros(like.shape)
    found: Tensor = part(path, file, "latent_avg", Tensor)
    codes, dim = like.shape
    if tuple(found.shape) not in {(dim,), (1, dim), (codes, dim), (1, codes, dim)}:
        raise PurebenchError(
            f"{path}: expected 'latent_avg' of shape [{dim}], [1,{dim}] or [{codes},{dim}], "
            f"but got {list(found.shape)}; {ONLY}"
        )
    return found.reshape(-1, dim).expand(codes, dim).clone()


def part(path: Path, whole: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """Return an entry of the file or of its options.

    Args:
        path: the file, for error messages only.
        whole: the file's content or its options.
        name: name of the entry.
        kind: expected type of the entry.

    Raises:
        PurebenchError: If the entry is missing or of another type.
    """
    if name not in whole:
        raise PurebenchError(f"{path}: expected the entry {name!r}, but it is missing; name the authors' own file.")
    if not isinstance(whole[name], kind):
        came = type(whole[name]).__name__
        raise PurebenchError(f"{path}: expected {name!r} to be of type {kind.__name__}, but got {came}; {ONLY}")
    return whole[name]
