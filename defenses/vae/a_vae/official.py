"""Loads A-VAE from the files of Serez et al. 2025: a flat state dict of their generator's running mean.

The keys are checked one by one. The file does not state the architecture, which is inferred from the weights' shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import check_keys, empty, filled
from purebench.defenses.mlvgm.official import read_official
from purebench.defenses.vae.a_vae.layers import Blur, blur_kernel
from purebench.defenses.vae.a_vae.network import AVAE
from purebench.defenses.vae.flat_state import check_dimensions, tensors

FIRST = "encoder.conv2.conv1.conv.weight_orig"
COLOURS, CODE = "generator.to_rgb.conv.weight_orig", "style.1.linear.weight_orig"
"""Keys that identify an A-VAE; its sizes are inferred from their shapes."""


def load_a_vae(path: str | Path) -> AVAE:
    """Load A-VAE from the official file, in eval mode, in float32, without parameter gradients.

    Args:
        path: the file.

    Raises:
        PurebenchError: If the file cannot be read without running code, or keys, shapes or values do not fit; the
            message names the key.
    """
    return a_vae_from(Path(path), read_official(path))


def a_vae_from(path: Path, file: Mapping[str, Any]) -> AVAE:
    """Build A-VAE from the content of its file.

    Args:
        path: the file, for error messages only.
        file: its content.

    Raises:
        PurebenchError: If keys, shapes or values do not fit; the message names the key.
    """
    state = tensors(path, file)
    architecture = _architecture(path, state)
    model = empty(path, "shapes that make an A-VAE", lambda: AVAE(**architecture))
    blurs = official_blurs(model)
    check_keys(path, model.state_dict() | blurs, state)
    for name, kernel in blurs.items():
        if not torch.allclose(state[name].float(), kernel):
            raise PurebenchError(
                f"{path}: expected {name!r} to be the blur [1,2,1] × [1,2,1] / 16, but got another; "
                "name the authors' own file."
            )
    return filled(path, model, {name: value for name, value in state.items() if name not in blurs})


def official_blurs(model: AVAE) -> dict[str, Tensor]:
    """Return the blurs' buffers by name, which the official file contains and this model does not need."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, Blur):
            channels = len(model.get_parameter(f"{name.split('.conv1.')[0]}.conv2.conv.bias"))
            kernel = blur_kernel(channels)
            found |= {f"{name}.weight": kernel, f"{name}.weight_flip": kernel}
    return found


def _architecture(path: Path, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Infer width, colours, the encoder's side, and the size (from the number of blocks) from the shapes."""
    check_dimensions(path, state, {FIRST: 4, COLOURS: 4, CODE: 2})
    blocks = {name.split(".")[2] for name in state if name.startswith("generator.progression.")}
    width, inner = state[CODE].shape
    return {
        "size": 2 ** (len(blocks) + 1),
        "inside": 8 * math.isqrt(inner // max(width, 1)),
        "colours": state[FIRST].shape[1],
        "width": width,
    }
