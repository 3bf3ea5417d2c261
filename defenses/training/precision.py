"""The precision of training, float32 or autocast to bfloat16, and the layout of its convolutions."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "channels-last", "bf16", "bf16-layers"]
"""`channels-last`: float32 in this layout, which is faster on processors without bfloat16. `bf16`: all that autocast
covers, for classifiers. `bf16-layers`: within convolutions and linear layers only, which return float32, so that
densities are computed in float32. `bf16` and `bf16-layers` also use the channels-last layout."""
AUTOCAST = ("bf16", "bf16-layers")
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


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


def _in_float32(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()
