"""NVAE (Vahdat & Kautz 2020, arXiv:2007.03898) in the layout of NVAE-from-scratch, the model of Serez et al. 2025.

It follows that implementation also where it differs from NVlabs': encoder groups run in ascending order inside a
scale, and the features after group g are used for latent g; the standard deviations of the encoder's normal
distributions have no lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.parameters import NonNegative, checked
from purebench.defenses.mlvgm.hvae import Normal, bounded_exp
from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.nvae.cells import AddDecoded, TakeLatent, normed
from purebench.defenses.mlvgm.nvae.configuration import Configuration
from purebench.defenses.mlvgm.nvae.flow import Flow
from purebench.defenses.mlvgm.nvae.mixture import LogisticMixture, parameters_a_pixel
from purebench.defenses.mlvgm.nvae.towers import decoder_tower, encoder_tower, postprocessing, preprocessing

Choose = Callable[[int, Normal, Normal], Tensor]
"""choose(i, posterior, prior) returns latent i, before its flow."""


class NVAE(MLVGM):
    """NVAE: latents in groups at growing resolutions; each group's prior and posterior depend on the latents above.

    Args:
        configuration: {'resolution': [C,R,R], 'autoencoder': {…}}, see `Configuration`.
        temperature: factor on the priors' standard deviation when they are sampled in `autoencode`.

    Raises:
        PurebenchError: If no model can be built from the configuration, or the temperature is negative or not finite.
    """

    @checked("nvae")
    def __init__(self, configuration: Mapping[str, Any], temperature: NonNegative = 0.6):
        super().__init__()
        self.shape = shape = Configuration.parse(configuration)
        self.temperature = float(temperature)
        self.latents = len(shape.order)
        coarsest, z = shape.width_at(0), shape.z
        side = shape.size // shape.shrink(0)
        self.const_prior = nn.Parameter(torch.rand(1, coarsest, side, side))
        self.preprocessing_block = preprocessing(shape)
        self.encoder_tower = encoder_tower(shape)
        later = shape.order[1:]
        self.encoder_combiners = nn.ModuleDict({f"combiner_{s}:{g}": AddDecoded(shape.width_at(s)) for s, g in later})
        self.encoder_0 = nn.Sequential(nn.ELU(), normed(coarsest, coarsest, 1), nn.ELU())
        self.enc_sampler = nn.ModuleDict(
            {f"sampler_{s}:{g}": normed(shape.width_at(s), 2 * z, 3) for s, g in shape.order}
        )
        self.dec_sampler = nn.ModuleDict(
            {f"sampler_{s}:{g}": nn.Sequential(nn.ELU(), normed(shape.width_at(s), 2 * z, 1)) for s, g in later}
        )
        self.nf_cells = nn.ModuleDict(
            {f"nf_{s}:{g}": nn.Sequential(*(Flow(z) for _ in range(shape.flows))) for s, g in shape.order}
            if shape.flows
            else {}
        )
        self.decoder_tower = decoder_tower(shape)
        self.decoder_combiners = nn.ModuleDict(
            {f"combiner_{s}:{g}": TakeLatent(shape.width_at(s), z) for s, g in shape.order}
        )
        self.postprocessing_block = postprocessing(shape)
        self.to_logits = nn.Sequential(
            nn.ELU(), normed(shape.width, parameters_a_pixel(shape.mixtures, shape.channels), 3)
        )

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments that build this model again, as plain values."""
        return {"configuration": self.shape.official(), "temperature": self.temperature}

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's features for each latent's posterior, coarse to fine, from images [N,C,R,R] in [0,1]."""
        state, found = _packed(self.preprocessing_block(2 * x - 1)), {}
        for scale in reversed(range(self.shape.scales)):
            tower = _part(self.encoder_tower, f"scale_{scale}")
            for group in range(self.shape.groups_per_scale[scale]):
                state = found[scale, group] = _part(tower, f"group_{group}")(state)
            if scale:
                state = _part(tower, "downsampling")(state)
        found[0, 0] = self.encoder_0(state)
        return [found[place] for place in self.shape.order]

    def distributions(self, i: int, features: Tensor, state: Tensor) -> tuple[Normal, Normal]:
        """Compute the distributions of a latent.

        Args:
            i: index of the latent.
            features: the encoder's features for the latent [N,C,h,w].
            state: the decoder's state [N,C,h,w].

        Returns:
            Posterior and prior.
        """
        name = _name("sampler", self.shape.order[i])
        if i == 0:
            prior = torch.zeros_like(features[:, :1]).repeat(1, 2 * self.shape.z, 1, 1)
        else:
            prior = self.dec_sampler[name](state)
            features = self.encoder_combiners[_name("combiner", self.shape.order[i])](features, state)
        return normal(prior + self.enc_sampler[name](features)), normal(prior)

    def decode(self, features: list[Tensor], choose: Choose) -> LogisticMixture:
        """Decode the distribution of images from chosen latents, top-down.

        Args:
            features: features of the encoder, as `features` returns them.
            choose: choose(i, posterior, prior) returns latent i, before its flow.

        Returns:
            The distribution of the images.
        """
        state = _packed(self.const_prior.expand(len(features[0]), -1, -1, -1))
        for i, (scale, group) in enumerate(self.shape.order):
            tower = _part(self.decoder_tower, f"scale_{scale}")
            if i:
                state = _part(tower, f"group_{group}")(state)
            latent = choose(i, *self.distributions(i, features[i], state))
            state = self.decoder_combiners[_name("combiner", (scale, group))](state, self.flow(i, latent))
            if group == self.shape.groups_per_scale[scale] - 1 and scale < self.shape.scales - 1:
                state = _part(tower, "upsampling")(state)
        raw = self.to_logits(self.postprocessing_block(state))
        return LogisticMixture.split(raw, self.shape.mixtures, self.shape.channels)

    def flow(self, i: int, latent: Tensor) -> Tensor:
        """Return latent i after its normalising flow, if it has one."""
        if not self.shape.flows:
            return latent
        out: Tensor = self.nf_cells[_name("nf", self.shape.order[i])](latent)
        return out

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images (see MLVGM), with posterior means as codes and the mixture's mean as image.

        This is as in Serez et al. 2025.
        """
        return self.decode(self.features(x), lambda i, q, p: mix(i, q.mean, p.sample(self.temperature))).mean()

    def posteriors(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance [N,Z,h,w] of each posterior (see MLVGM); a flow does not change their divergence."""
        found: list[tuple[Tensor, Tensor]] = []

        def choose(_: int, posterior: Normal, prior: Normal) -> Tensor:
            found.append((posterior.mean, posterior.std.square()))
            return posterior.mean

        self.decode(self.features(x), choose)
        return found

    def evidence(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the terms of the evidence lower bound, for training.

        With flows a divergence is estimated from one sample, log q(z) - log p(flow(z)), because the flow preserves
        volume.

        Args:
            x: images [N,C,R,R] in [0,1] at 8 bits.

        Returns:
            Log-likelihood [N] and divergences by latent, [N] each, in nats.
        """
        divergences: list[Tensor] = []

        def choose(i: int, posterior: Normal, prior: Normal) -> Tensor:
            latent = posterior.sample()
            if self.shape.flows:
                gap = log_density(posterior, latent) - log_density(prior, self.flow(i, latent))
                divergences.append(gap.flatten(1).sum(1))
            else:
                divergences.append(posterior.divergence(prior))
            return latent

        return self.decode(self.features(x), choose).log_likelihood(x), divergences


def _packed(state: Tensor) -> Tensor:
    """Return the tensor with channels last in memory, where depthwise gradients take a third of the time on a CPU."""
    return state.contiguous(memory_format=torch.channels_last)


def normal(raw: Tensor) -> Normal:
    """Return the normal distribution with the given mean and log-deviation, both softly clamped to (-5, 5).

    The tensors are contiguous, so that the noise of a seed does not depend on the memory layout of the features.

    Args:
        raw: mean and logarithm of the standard deviation, concatenated, [N,2z,h,w].
    """
    mean, log_std = raw.contiguous().chunk(2, dim=1)
    return Normal(5 * torch.tanh(mean / 5), bounded_exp(log_std))


def log_density(normal: Normal, z: Tensor) -> Tensor:
    """Return the log-density of a normal distribution at z, elementwise."""
    return -0.5 * ((z - normal.mean) / normal.std).square() - normal.std.log() - 0.5 * math.log(2 * math.pi)


def _name(kind: str, place: tuple[int, int]) -> str:
    """Return the name of a latent's part in the files.

    >>> _name("combiner", (2, 7))
    'combiner_2:7'
    """
    return f"{kind}_{place[0]}:{place[1]}"


def _part(tower: nn.Module, name: str) -> nn.Module:
    """Return a named part of a tower."""
    assert isinstance(tower, nn.ModuleDict)
    return tower[name]
