"""ND-VAE (IEEE Xplore 10387596) as released by Serez et al. 2025 (arXiv:2412.03453): an NVAE that denoises.

It has a bottom-up encoder and a top-down decoder, with one latent at the top and one after each scale. Prior and
posterior of a latent are computed from the *same* features, which contain the image: the prior alone cannot generate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.hvae import Normal, bounded_exp
from purebench.defenses.mlvgm.nvae.mixture import LogisticMixture, parameters_a_pixel
from purebench.defenses.vae.nd_vae.cells import AddDecoded, Cell, Join, generative_cell, residual_cell

LEAST_DEVIATION = 1e-2
Choose = Callable[[Normal, Normal], Tensor]
"""choose(posterior, prior) returns the latent that is decoded."""


class Halvings(nn.Module):
    """Groups of cells; the last cell of each doubles the channels and halves the side.

    Args:
        width: channels of the input.
        halvings: number of groups.
        cells: cells of a group.
    """

    def __init__(self, width: int, halvings: int, cells: int):
        super().__init__()
        groups = []
        for i in range(halvings):
            wide = width * 2**i
            same = [residual_cell(wide, wide) for _ in range(cells - 1)]
            groups.append(nn.Sequential(*same, residual_cell(wide, 2 * wide, down=True)))
        self.tower = nn.Sequential(*groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,width,h,w] to [N,width·2^halvings,h/2^halvings,…]."""
        out: Tensor = self.tower(x)
        return out


class Doublings(nn.Module):
    """Inverse of Halvings.

    Cells that keep the side expand their channels by a factor equal to their number, as in the release.

    Args:
        width: channels of the output.
        halvings: number of doublings.
        cells: cells for each doubling.
    """

    def __init__(self, width: int, halvings: int, cells: int):
        super().__init__()
        tower: list[Cell] = []
        for i in reversed(range(halvings)):
            wide = width * 2**i
            tower.append(generative_cell(2 * wide, up=True))
            tower += [generative_cell(wide, expansion=wide) for _ in range(cells - 1)]
        self.tower = nn.Sequential(*tower)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,width·2^halvings,h,w] to [N,width,h·2^halvings,…]."""
        out: Tensor = self.tower(x)
        return out


class Encoder(nn.Module):
    """Scales of groups of cells; all but the last end with a cell that halves the side and doubles the channels.

    Args:
        width: channels of the input.
        scales: number of scales.
        groups: groups of cells of a scale.
        cells: cells of a group.
    """

    def __init__(self, width: int, scales: int, groups: int, cells: int):
        super().__init__()
        tower = []
        for scale in range(scales):
            wide = width * 2**scale
            parts: list[nn.Module] = [
                nn.Sequential(*(residual_cell(wide, wide) for _ in range(cells))) for _ in range(groups)
            ]
            if scale < scales - 1:
                parts.append(residual_cell(wide, 2 * wide, down=True))
            tower.append(nn.Sequential(*parts))
        self.enc_tower = nn.ModuleList(tower)
        self.combiner_cells = nn.ModuleList(AddDecoded(width * 2**scale) for scale in reversed(range(scales)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the input and the output of each scale, the last first."""
        found = [x]
        for scale in self.enc_tower:
            found.append(scale(found[-1]))
        return found[::-1]


class Group(nn.Module):
    """Generative cells whose output is joined to their input.

    Args:
        width: channels of the features.
        cells: number of cells.
    """

    def __init__(self, width: int, cells: int):
        super().__init__()
        self.combiner = Join(width, width, width)
        self.group = nn.Sequential(*(generative_cell(width) for _ in range(cells)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features; the shape [N,width,h,w] is unchanged."""
        out: Tensor = self.combiner(x, self.group(x))
        return out


class Sampler(nn.Module):
    """Posterior and prior of a latent from the same features; the posterior's moments are added to the prior's."""

    def __init__(self, width: int):
        super().__init__()
        self.cell = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.prior_cell = nn.Sequential(nn.ELU(), nn.Conv2d(width, 2 * width, 1))

    def forward(self, x: Tensor) -> tuple[Normal, Normal]:
        """Return posterior and prior, normals of the shape of the features [N,width,h,w]."""
        prior = self.prior_cell(x)
        return normal(prior + self.cell(x)), normal(prior)


class Decoder(nn.Module):
    """Decoder with one sampler for each latent.

    Args:
        width: channels before the encoder's scales.
        scales: number of scales.
        groups: groups of cells of a scale.
        cells: cells of a group.
        side: side of the start of the decoder, [width·2^(scales-1),side,side], initialised in [0,1); None for no start.
    """

    def __init__(self, width: int, scales: int, groups: int, cells: int, side: int | None):
        super().__init__()
        top = width * 2 ** (scales - 1)
        widths = [top, *(top // 2**scale for scale in range(scales))]
        tower = []
        for scale, wide in enumerate(widths[:-1]):
            parts: list[nn.Module] = [Group(wide, cells) for _ in range(groups)]
            if scale:
                parts.append(generative_cell(wide, up=True))
            tower.append(nn.Sequential(*parts))
        self.dec_tower = nn.ModuleList(tower)
        self.combiner_cells = nn.ModuleList(Join(wide, wide, wide) for wide in widths)
        self.samplers = nn.ModuleList(Sampler(wide) for wide in widths)
        self.h = None if side is None else nn.Parameter(torch.rand(top, side, side))


class NDVAE(nn.Module):
    """Model from images [N,colours,s,s] in [0,1], attacked or noisy, to the distribution of the clean images.

    Args:
        colours: channels of the images, 1 or 3.
        width: channels after the first convolution.
        halvings: halvings of the side before the latents.
        scales: number of scales, as in NVAE.
        groups: groups of cells of a scale, as in NVAE.
        cells: cells of a group, as in NVAE.
        mixtures: logistic distributions for each pixel.
        side: side of the start of the decoder, s/2^(halvings+scales-1); None if the weights do not contain the start,
            like the released ones.

    Raises:
        PurebenchError: If a count is below 1, the width is odd, or the number of colours is not 1 or 3.
    """

    def __init__(
        self,
        *,
        colours: int = 3,
        width: int = 16,
        halvings: int = 2,
        scales: int = 2,
        groups: int = 2,
        cells: int = 2,
        mixtures: int = 10,
        side: int | None = None,
    ):
        super().__init__()
        counts = {"halvings": halvings, "scales": scales, "groups": groups, "cells": cells, "mixtures": mixtures}
        if min(counts.values()) < 1 or width < 2 or width % 2 or colours not in (1, 3):
            raise PurebenchError(
                f"nd-vae: expected counts of at least 1, an even width and 1 or 3 colours, "
                f"but got {counts}, width {width}, colours {colours}."
            )
        inner = width * 2**halvings
        self.stem = nn.Conv2d(colours, width, 3, padding=1)
        self.pre_proc = Halvings(width, halvings, cells)
        self.encoder = Encoder(inner, scales, groups, cells)
        self.decoder = Decoder(inner, scales, groups, cells, side)
        self.post_proc = Doublings(width, halvings, cells)
        outer = parameters_a_pixel(mixtures, colours)
        self.image_conditional = nn.Sequential(nn.ELU(), nn.Conv2d(width, outer, 3, padding=1))
        self.colours, self.mixtures = colours, mixtures
        self.architecture: dict[str, Any] = {**counts, "colours": colours, "width": width, "side": side}

    @property
    def start(self) -> Tensor | None:
        """Start of the decoder, if the weights contain it."""
        return self.decoder.h

    def features(self, x: Tensor) -> list[Tensor]:
        """Return features [N,C,h,w] for each latent, coarse to fine, from images in [0,1]."""
        state = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        found: list[Tensor] = self.encoder(self.pre_proc(self.stem(state)))
        return found

    def decode(self, features: list[Tensor], start: Tensor, choose: Choose) -> LogisticMixture:
        """Decode the distribution of images from chosen latents, top-down.

        Args:
            features: features of the encoder, as `features` returns them.
            start: start of the decoder [C,h,w].
            choose: choose(posterior, prior) returns the latent that is decoded.

        Returns:
            The distribution of the clean images.

        Raises:
            PurebenchError: If the start does not fit the size of the images.
        """
        top = features[0]
        if start.shape != top.shape[1:]:
            raise PurebenchError(
                f"nd-vae: expected images for which the decoder's start has the shape {list(start.shape)}, but got "
                f"images for which it has {list(top.shape[1:])}; use images of the size that it was trained on."
            )
        state = start.expand_as(top).contiguous(memory_format=torch.channels_last)
        for i, seen in enumerate(features):
            if i:
                state = self.decoder.dec_tower[i - 1](state)
                seen = self.encoder.combiner_cells[i - 1](seen, state)
            latent = choose(*self.decoder.samplers[i](seen))
            state = self.decoder.combiner_cells[i](latent, state)
        raw = self.image_conditional(self.post_proc(state))
        return LogisticMixture.split(raw, self.mixtures, self.colours)

    def evidence(self, x: Tensor, clean: Tensor, start: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the terms of the evidence lower bound, for training.

        Args:
            x: images that the encoder receives, [N,C,H,W] in [0,1].
            clean: the clean images.
            start: start of the decoder [C,h,w].

        Returns:
            Log-likelihood of the clean images [N] and divergences by latent, [N] each, in nats.
        """
        divergences: list[Tensor] = []

        def choose(posterior: Normal, prior: Normal) -> Tensor:
            divergences.append(posterior.divergence(prior))
            return posterior.sample()

        return self.decode(self.features(x), start, choose).log_likelihood(clean), divergences


def normal(raw: Tensor) -> Normal:
    """Return the normal distribution with the given mean and log-deviation, both softly clamped to (-5, 5).

    LEAST_DEVIATION is added to the standard deviation. The tensors are contiguous, so that the noise of a seed does not
    depend on the memory layout of the features.

    Args:
        raw: mean and logarithm of the standard deviation, concatenated, [N,2C,h,w].
    """
    mean, log_std = raw.contiguous().chunk(2, dim=1)
    return Normal(5 * torch.tanh(mean / 5), bounded_exp(log_std) + LEAST_DEVIATION)
