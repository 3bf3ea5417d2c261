"""The stacks of cells before, between and after an NVAE's latents, named as in NVAE-from-scratch's files."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from purebench.defenses.mlvgm.nvae.cells import Cell, decoder_cell, encoder_cell, normed
from purebench.defenses.mlvgm.nvae.configuration import Configuration


def preprocessing(shape: Configuration) -> nn.Sequential:
    """Return the layers from images to features at the finest scale.

    They are `blocks` blocks of cells; the last cell of each halves the image and doubles the channels.
    """
    parts = nn.Sequential()
    parts.add_module("init_conv", normed(shape.channels, shape.width, 3))
    for block in range(shape.blocks):
        width = shape.width * 2**block
        cells = [encoder_cell(width, width) for _ in range(shape.block_cells - 1)]
        parts.add_module(f"block_{block}", _group([*cells, encoder_cell(width, 2 * width, down=True)]))
    return parts


def postprocessing(shape: Configuration) -> nn.Sequential:
    """Return the layers from features at the finest scale to features at the image's size.

    They are `blocks` blocks of cells; the first cell of each doubles the image and halves the channels.
    """
    parts = nn.Sequential()
    for block in range(shape.blocks):
        width = shape.width * 2 ** (shape.blocks - 1 - block)
        cells = [decoder_cell(width, width, expansion=3) for _ in range(shape.block_cells - 1)]
        parts.add_module(f"block_{block}", _group([decoder_cell(2 * width, width, up=True, expansion=3), *cells]))
    return parts


def encoder_tower(shape: Configuration) -> nn.ModuleDict:
    """Return the encoder: scales from fine to coarse, groups of cells in each, halving cells after all but the last."""
    tower = nn.ModuleDict()
    for scale in reversed(range(shape.scales)):
        width = shape.width_at(scale)
        tower[f"scale_{scale}"] = made = nn.ModuleDict()
        for group in range(shape.groups_per_scale[scale]):
            made[f"group_{group}"] = _group([encoder_cell(width, width) for _ in range(shape.cells)])
        if scale:
            made["downsampling"] = encoder_cell(width, 2 * width, down=True)
    return tower


def decoder_tower(shape: Configuration) -> nn.ModuleDict:
    """Return the decoder: scales from coarse to fine, with groups of cells, and a doubling cell in all but the finest.

    The first latent of the coarsest scale has no group of cells.
    """
    tower = nn.ModuleDict()
    for scale, groups in enumerate(shape.groups_per_scale):
        width = shape.width_at(scale)
        tower[f"scale_{scale}"] = made = nn.ModuleDict()
        for group in range(scale == 0, groups):
            made[f"group_{group}"] = _group([decoder_cell(width, width) for _ in range(shape.cells)])
        if scale < shape.scales - 1:
            made["upsampling"] = decoder_cell(width, width // 2, up=True)
    return tower


def _group(cells: list[Cell]) -> nn.Sequential:
    """Return the cells in sequence, named cell_0, cell_1, …."""
    return nn.Sequential(OrderedDict((f"cell_{index}", cell) for index, cell in enumerate(cells)))
