"""The precision of training, float32 or autocast to bfloat16, and the layout of its convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError

Precision = Literal["float32", "channels-last", "bf16", "bf16-layers"]
"""`channels-last`: float32 in this layout, which is faster on processors without bfloat16. `bf16`: all that autocast
covers, for classifiers. `bf16-layers`: within convolutions and linear layers only, which return float32, so that
densities are computed in float32. `bf16` and `bf16-layers` also use the channels-last layout."""
AUTOCAST = ("bf16", "bf16-layers")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names that Linux gives to the instructions of a processor that multiplies matrices in bfloat16."""
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def as_precision(text: str) -> Precision:
    """Return the precision with this name.

    Args:
        text: the name.

    Raises:
        PurebenchError: there is none.
    """
    for one in get_args(Precision):
        if text == one:
            return cast(Precision, one)
    raise PurebenchError(f"--precision: expected one of {', '.join(get_args(Precision))}, but got {text!r}.")


def prepared(model: nn.Module, precision: Precision) -> nn.Module:
    """Return the model with the layout, and for `bf16-layers` the hooks, that the precision needs."""
    if precision == "float32":
        return model
    if precision == "bf16-layers":
        for layer in model.modules():
            if isinstance(layer, LAYERS):
                layer.register_forward_hook(_in_float32)
    return model.to(memory_format=torch.channels_last)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which the loss is computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision in AUTOCAST)


def slow_on(device: torch.device, precision: Precision, processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor is known to lack the bfloat16 instructions that the precision uses.

    Args:
        device: device of the training.
        precision: precision of the training.
        processor: file that describes the processor on Linux; if it is missing, the result is False.
    """
    if device.type != "cpu" or precision not in AUTOCAST or not processor.is_file():
        return False
    return not set(INSTRUCTIONS) & set(processor.read_text(encoding="utf-8").split())


def _in_float32(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()
