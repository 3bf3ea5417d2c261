"""Loads ND-VAE from the files of Serez et al. 2025: a flat state dict with most weights stored twice or four times.

A layer of a cell is stored under its name and under its number in the cell, and a group before the latents in
`groups_list` and in `tower`. All keys of a weight must be present and agree. `decoder.h`, the start of the decoder, is
not in the published files; it is read from files that contain it. `decoder.post_encoder` is in them, but is not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import check_keys, empty, filled
from purebench.defenses.mlvgm.nvae.mixture import parameters_a_pixel
from purebench.defenses.mlvgm.official import read_official
from purebench.defenses.vae.flat_state import check_dimensions, tensors
from purebench.defenses.vae.nd_vae.cells import Cell
from purebench.defenses.vae.nd_vae.network import NDVAE

START = "decoder.h"
STEM, LAST, TOP = "stem.weight", "image_conditional.1.weight", "decoder.samplers.0.cell.weight"
"""Keys of weights whose shapes determine the sizes."""
UNUSED = "decoder.post_encoder.cell.1"


def load_nd_vae(path: str | Path) -> NDVAE:
    """Load ND-VAE from the official file, in eval mode, in float32, without parameter gradients.

    Args:
        path: the file.

    Raises:
        PurebenchError: If the file cannot be read without running code, keys, shapes or values do not fit, or two keys
            of one weight disagree; the message names the keys.
    """
    return nd_vae_from(Path(path), read_official(path))


def nd_vae_from(path: Path, file: Mapping[str, Any]) -> NDVAE:
    """Build ND-VAE from the content of its file.

    Args:
        path: the file, for error messages only.
        file: its content.

    Raises:
        PurebenchError: If keys, shapes or values do not fit, or two keys of one weight disagree; the message names the
            keys.
    """
    state = tensors(path, file)
    if START in state and state[START].ndim == 4 and len(state[START]) == 1:
        state[START] = state[START][0]
    architecture = _architecture(path, state)
    model = empty(path, "shapes that make an ND-VAE", lambda: NDVAE(**architecture))
    own, names = model.state_dict(), spellings(model)
    wanted = {spelling: own[name] for name, all_of_it in names.items() for spelling in all_of_it}
    check_keys(path, wanted | unused(model), state)
    for first, *others in names.values():
        for other in others:
            if not torch.equal(state[first], state[other]):
                raise PurebenchError(
                    f"{path}: expected {first!r} and {other!r} to be the same, but they differ; "
                    "name the authors' own file."
                )
    return filled(path, model, {name: state[all_of_it[0]] for name, all_of_it in names.items()})


def spellings(model: NDVAE) -> dict[str, list[str]]:
    """Return all keys in the official file of each weight of the model."""
    cells = {name: module for name, module in model.named_modules() if isinstance(module, Cell)}
    found = {}
    for name in model.state_dict():
        names = [name.replace(".linear_1.", ".se.0.").replace(".linear_2.", ".se.2.")]
        inside = re.fullmatch(r"(.+)\.cell\.(\d+)\.(.+)", names[0])
        if inside and inside[1] in cells:
            names.append(f"{inside[1]}.{cells[inside[1]].names[int(inside[2])]}.{inside[3]}")
        if name.startswith("pre_proc.tower."):
            names += [spelling.replace("pre_proc.tower.", "pre_proc.groups_list.") for spelling in names]
        found[name] = names
    return found


def unused(model: NDVAE) -> dict[str, Tensor]:
    """Return the other weights in the official file by key, as tensors of their shapes on the meta device."""
    top = len(model.get_parameter("decoder.combiner_cells.0.conv.bias"))
    shapes = {"weight": (top, top, 1, 1), "bias": (top,)}
    return {f"{UNUSED}.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _architecture(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the architecture from the shapes and from the numbers in the keys."""
    check_dimensions(path, state, dict.fromkeys((STEM, LAST, TOP), 4))
    width, colours = state[STEM].shape[:2]
    return {
        "colours": colours,
        "width": width,
        "halvings": _count(state, "pre_proc.tower."),
        "scales": _count(state, "encoder.enc_tower."),
        "groups": _count(state, "decoder.dec_tower.0."),
        "cells": _count(state, "decoder.dec_tower.0.0.group."),
        "mixtures": len(state[LAST]) // parameters_a_pixel(1, colours),
        "side": state[START].shape[-1] if START in state else None,
    }


def _count(state: Mapping[str, Tensor], start: str) -> int:
    """Return how many different numbers follow this prefix in the keys.

    >>> _count({"tower.0.bias": torch.ones(1), "tower.0.weight": torch.ones(1)}, "tower.")
    1
    """
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})
