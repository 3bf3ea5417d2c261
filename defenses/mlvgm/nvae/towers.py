"""What lies before, between and behind an NVAE's latents: stacks of cells, named as in NVAE-from-scratch's files."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from purebench.defenses.mlvgm.nvae.cells import Cell, decoder_cell, encoder_cell, normed
from purebench.defenses.mlvgm.nvae.configuration import Configuration


def preprocessing(shape: Configuration) -> nn.Sequential:
    """Images to features at the finest scale: `blocks` times cells, the last of which halves and widens."""
    parts = nn.Sequential()
    parts.add_module("init_conv", normed(shape.channels, shape.width, 3))
    for block in range(shape.blocks):
        width = shape.width * 2**block
        cells = [encoder_cell(width, width) for _ in range(shape.block_cells - 1)]
        parts.add_module(f"block_{block}", _group([*cells, encoder_cell(width, 2 * width, down=True)]))
    return parts


def postprocessing(shape: Configuration) -> nn.Sequential:
    """Features at the finest scale to those of the image: `blocks` times cells, the first of which doubles."""
    parts = nn.Sequential()
    for block in range(shape.blocks):
        width = shape.width * 2 ** (shape.blocks - 1 - block)
        cells = [decoder_cell(width, width, expansion=3) for _ in range(shape.block_cells - 1)]
        parts.add_module(f"block_{block}", _group([decoder_cell(2 * width, width, up=True, expansion=3), *cells]))
    return parts


def encoder_tower(shape: Configuration) -> nn.ModuleDict:
    """Scales from fine to coarse, groups of cells in each, and a halving cell below each but the coarsest."""
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
    """Scales from coarse to fine, groups of cells in each but the first, a doubling cell below each but the finest."""
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
    """cell_0, cell_1, …, one behind the other."""
    return nn.Sequential(OrderedDict((f"cell_{index}", cell) for index, cell in enumerate(cells)))
