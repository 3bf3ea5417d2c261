"""Loads the files of NVAE-from-scratch: {'configuration', 'state_dict', 'state_dict_temp=0.6', …}, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import filled
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.mlvgm.official import read_official

RE_ESTIMATED = "state_dict_temp="
"""Prefix of the weights whose batch statistics in the decoder were estimated from samples at a temperature."""
OLD_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Names of weight norm's parameters: in torch.nn.utils.weight_norm, and in its parametrization."""


def load_nvae(path: str | Path, temperature: float = 0.6) -> NVAE:
    """Load the NVAE of an official file with the weights for a temperature.

    Temperature 1.0 uses the weights of the training ('state_dict') if none were re-estimated for it.

    Args:
        path: the official file.
        temperature: temperature of the samples.

    Returns:
        The model, in eval mode, without parameter gradients.

    Raises:
        PurebenchError: If the file cannot be read without running code, lacks that temperature, or its keys, shapes or
            values do not fit its configuration.
    """
    path = Path(path)
    return nvae_from(path, read_official(path), temperature)


def nvae_from(path: Path, file: Mapping[str, Any], temperature: float) -> NVAE:
    """Build the NVAE from the content of its official file; see `load_nvae`.

    Args:
        path: the file, for error messages only.
        file: its content.
        temperature: temperature of the samples.
    """
    configuration = file.get("configuration")
    if not isinstance(configuration, Mapping):
        raise PurebenchError(
            f"{path}: expected NVAE-from-scratch's 'configuration', but got {', '.join(map(str, file)) or 'nothing'}."
        )
    state = {_renamed(str(name)): value for name, value in _state(path, file, temperature).items()}
    with torch.device("meta"):  # the official models are large: drawing weights takes longer than the file
        model = NVAE(configuration, temperature)
    return filled(path, model, state)


def _state(path: Path, file: Mapping[str, Any], temperature: float) -> Mapping[Any, Any]:
    """Return the weights for a temperature."""
    wanted = f"{RE_ESTIMATED}{float(temperature)}"
    if temperature == 1 and wanted not in file:
        wanted = "state_dict"
    state = file.get(wanted)
    if not isinstance(state, Mapping):
        there = [name.removeprefix(RE_ESTIMATED) for name in map(str, file) if name.startswith(RE_ESTIMATED)]
        there += ["1.0 (the training's own)"] if "state_dict" in file and "1.0" not in there else []
        raise PurebenchError(
            f"{path}: expected {wanted!r}, but the file has weights for the temperatures {', '.join(there) or 'none'}; "
            "name one of these."
        )
    return state


def _renamed(name: str) -> str:
    """Return a key with the name that the parametrization uses.

    >>> _renamed("to_logits.1.weight_g")
    'to_logits.1.parametrizations.weight.original0'
    """
    head, _, last = name.rpartition(".")
    return f"{head}.{OLD_NORM[last]}" if last in OLD_NORM else name
