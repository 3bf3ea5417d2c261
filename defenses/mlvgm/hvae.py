"""A small hierarchical VAE: bottom-up encoder, top-down decoder; each group's prior depends on the groups above it.

It follows NVAE (Vahdat & Kautz 2020, arXiv:2007.03898: residual cells, residual normal posteriors) and VDVAE (Child
2021, arXiv:2011.10650: no normalisation layers, one latent for each residual block of the decoder). The reconstruction
term is a Gaussian with the optimal variance of the batch (sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.mlvgm.model import MLVGM, Mix


@dataclass(frozen=True)
class Normal:
    """Normal distribution with diagonal covariance.

    Attributes:
        mean: mean [N,Z,h,w].
        std: standard deviation [N,Z,h,w].
    """

    mean: Tensor
    std: Tensor

    def sample(self, temperature: float = 1.0) -> Tensor:
        """Return a sample with the standard deviation scaled by the temperature."""
        noise = torch.randn(self.mean.shape, dtype=self.mean.dtype, device=self.mean.device)  # fast in every layout
        return self.mean + temperature * self.std * noise

    def divergence(self, other: Normal) -> Tensor:
        """Return KL(self ‖ other) in nats, [N]."""
        ratio = self.std / other.std
        gap = (self.mean - other.mean) / other.std
        return (0.5 * (ratio.square() + gap.square() - 1) - ratio.log()).flatten(1).sum(1)


class Cell(nn.Module):
    """Residual bottleneck of 1×1, 3×3, 3×3, 1×1 convolutions with SiLU before each; [N,inner,h,w] → [N,outer,h,w].

    Args:
        inner: channels of the input.
        outer: channels of the output.
        last_scale: factor on the initial weights of the last convolution.
        shortcut: whether the input is added to the output.
    """

    def __init__(self, inner: int, outer: int, *, last_scale: float = 1.0, shortcut: bool = True):
        super().__init__()
        middle = max(outer // 2, 8)
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(inner, middle, 1),
            nn.SiLU(),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(middle, outer, 1),
        )
        self.shortcut = shortcut
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight.mul_(last_scale)
        nn.init.zeros_(last.bias) if last.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, with a shortcut if `shortcut` is set."""
        out: Tensor = self.layers(x)
        return x + out if self.shortcut else out


class Group(nn.Module):
    """One latent of the decoder: prior from the state above it, posterior from that state and the encoder features.

    Args:
        width: channels of state and features.
        z: channels of the latent.
        scale: factor on the initial last weights of the residual cells.
    """

    def __init__(self, width: int, z: int, scale: float):
        super().__init__()
        self.prior = Cell(width, 2 * z + width, last_scale=scale, shortcut=False)
        self.posterior = Cell(2 * width, 2 * z, shortcut=False)
        self.merge = nn.Conv2d(z, width, 1)
        self.cell = Cell(width, width, last_scale=scale)
        self.z = z

    def distributions(self, state: Tensor, features: Tensor) -> tuple[Normal, Normal, Tensor]:
        """Compute the distributions of the latent.

        Args:
            state: state of the decoder [N,C,h,w].
            features: features of the encoder [N,C,h,w].

        Returns:
            Posterior (relative to the prior, NVAE eq. 4), prior, and the state that the latent is to be merged into.
        """
        mean, raw, more = self.prior(state).split([self.z, self.z, state.shape[1]], dim=1)
        shift, stretch = self.posterior(torch.cat([state, features], 1)).chunk(2, dim=1)
        prior = Normal(mean, bounded_exp(raw))
        posterior = Normal(mean + prior.std * shift, prior.std * bounded_exp(stretch))
        return posterior, prior, state + more

    def absorb(self, state: Tensor, latent: Tensor) -> Tensor:
        """Return the state below this latent."""
        out: Tensor = self.cell(state + self.merge(latent))
        return out


def bounded_exp(x: Tensor) -> Tensor:
    """Return exp(x) with the exponent softly clamped to (-5, 5), NVAE's remedy against exploding divergences."""
    return (5 * torch.tanh(x / 5)).exp()


class HVAE(MLVGM):
    """Hierarchical VAE with groups of latents at growing resolutions, coarse to fine, for images of `size`×`size`.

    Args:
        channels: channels of the images.
        size: pixels a side.
        widths: channels of the features at each resolution, the coarsest first.
        groups: number of latents at each of the resolutions size/2^k, …, size/2, the coarsest first.
        z: channels of a latent.
        temperature: factor on the prior's standard deviation when it is sampled in `autoencode`.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 32,
        widths: Sequence[int] = (96, 64, 32),
        groups: Sequence[int] = (2, 3, 3),
        z: int = 8,
        temperature: float = 1.0,
    ):
        super().__init__()
        self.latents, self.levels, self.temperature = sum(groups), list(groups), temperature
        scale = self.latents**-0.5
        coarsest, fine_to_coarse = size // 2 ** len(groups), list(widths)[::-1]
        self.stem = nn.Conv2d(channels, widths[-1], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(Cell(width, width, last_scale=scale) for width in fine_to_coarse)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(fine_to_coarse))
        self.start = nn.Parameter(torch.zeros(1, widths[0], coarsest, coarsest))
        self.groups = nn.ModuleList(
            Group(width, z, scale) for width, count in zip(widths, groups, strict=True) for _ in range(count)
        )
        self.up = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.last = nn.Sequential(
            Cell(widths[-1], widths[-1], last_scale=scale),
            nn.SiLU(),
            nn.ConvTranspose2d(widths[-1], 16, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, channels, 3, padding=1),
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's features at each resolution, the coarsest first."""
        state, found = self.stem(2 * x - 1), []
        for level, cell in enumerate(self.encoder):
            state = cell(self.down[level - 1](state) if level else state)
            found.append(state)
        return found[::-1]

    def decode(self, features: list[Tensor], choose: Callable[[int, Normal, Normal], Tensor]) -> Tensor:
        """Decode images from chosen latents, top-down.

        Args:
            features: features of the encoder, as `features` returns them.
            choose: choose(i, posterior, prior) returns latent i.

        Returns:
            Images [N,C,H,W] in [0,1].
        """
        state = self.start.expand(len(features[0]), -1, -1, -1)
        index = 0
        for level, count in enumerate(self.levels):
            if level:
                state = functional.interpolate(self.up[level - 1](state), scale_factor=2.0, mode="nearest")
            for group in self.groups[index : index + count]:
                assert isinstance(group, Group)
                posterior, prior, state = group.distributions(state, features[level])
                state = group.absorb(state, choose(index, posterior, prior))
                index += 1
        return torch.sigmoid(self.last(state))

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images (see MLVGM); the code of a latent is the mean of its posterior, as in Serez et al. 2025."""
        return self.decode(self.features(x), lambda i, q, p: mix(i, q.mean, p.sample(self.temperature)))

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance [N,Z,h,w] of each posterior (see MLVGM)."""
        found: list[tuple[Tensor, Tensor]] = []

        def choose(_: int, posterior: Normal, prior: Normal) -> Tensor:
            found.append((posterior.mean, posterior.std.square()))
            return posterior.mean

        self.decode(self.features(x), choose)
        return found

    def evidence(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the terms of the evidence lower bound, for training.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            Reconstruction [N,C,H,W], mean squared error (scalar), and divergences by latent, [N] each.
        """
        divergences: list[Tensor] = []

        def choose(_: int, posterior: Normal, prior: Normal) -> Tensor:
            divergences.append(posterior.divergence(prior))
            return posterior.sample()

        image = self.decode(self.features(x), choose)
        return image, (image - x).square().mean(), divergences
