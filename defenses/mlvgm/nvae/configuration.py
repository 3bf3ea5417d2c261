"""The configuration of an NVAE: the `configuration` of NVAE-from-scratch's files (the YAML that its training reads)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from purebench.core.errors import PurebenchError, did_you_mean

OFFICIAL = {
    "scales": "num_scales",
    "groups": "num_groups_per_scale",
    "adaptive": "is_adaptive",
    "min_groups": "min_groups_per_scale",
    "cells": "num_cells_per_group",
    "z": "num_latent_per_group",
    "flows": "num_nf_cells",
    "width": "initial_channels",
    "blocks": "num_pre-post_process_blocks",
    "block_cells": "num_pre-post_process_cells",
    "mixtures": "num_logistic_mixtures",
}
"""The fields of Configuration and their names under `autoencoder` in the files."""
MAY_BE_ZERO = ("blocks", "flows")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Sizes that determine the layers of an NVAE.

    Attributes:
        channels: channels of the images, 1 or 3.
        size: side of the images in pixels.
        scales: number of resolutions with latents.
        groups: latents at each scale; if adaptive, at the finest scale, halved from scale to scale.
        adaptive: whether the number of latents is halved from scale to scale.
        min_groups: smallest number of latents at a scale, if adaptive.
        cells: residual cells of a group.
        z: channels of a latent.
        flows: normalising flows of a latent, None for none.
        width: channels before the image is first halved.
        blocks: halvings of the image before the latents.
        block_cells: cells of each such block.
        mixtures: logistic distributions for each pixel.
    """

    channels: int
    size: int
    scales: int
    groups: int
    adaptive: bool
    min_groups: int
    cells: int
    z: int
    flows: int | None
    width: int
    blocks: int
    block_cells: int
    mixtures: int

    @classmethod
    def parse(cls, configuration: Mapping[str, Any]) -> Configuration:
        """Parse an official configuration, {'resolution': [C,R,R], 'autoencoder': {…}}.

        Entries that the official model does not read are ignored.

        Args:
            configuration: the configuration as plain values.

        Raises:
            PurebenchError: If a field is missing, no model can be built from a value, or the number of channels is not
                1 or 3.
        """
        for part, kind in (("resolution", (list, tuple)), ("autoencoder", Mapping)):
            if not isinstance(configuration.get(part), kind):
                raise PurebenchError(
                    f"nvae configuration: expected {part!r}, but got "
                    f"{', '.join(map(str, configuration)) or 'nothing'}; give NVAE-from-scratch's whole configuration."
                )
        resolution, given = list(configuration["resolution"]), configuration["autoencoder"]
        if len(resolution) != 3 or resolution[0] not in (1, 3) or resolution[1] != resolution[2]:
            raise PurebenchError(f"nvae configuration: expected a resolution [1 or 3, R, R], but got {resolution}.")
        for official in OFFICIAL.values():
            if official not in given:
                raise PurebenchError(f"nvae configuration: expected {official!r}; {did_you_mean(official, given)}")
        values = {name: given[official] for name, official in OFFICIAL.items()}
        for name, value in values.items():
            _check(name, value)
        made = cls(channels=resolution[0], size=_check("size", resolution[1]), **values)
        if made.size % made.shrink(0):
            raise PurebenchError(
                f"nvae configuration: expected images whose side {made.scales} scales after {made.blocks} halvings "
                f"divide, a multiple of {made.shrink(0)}, but got {made.size}; take fewer scales or blocks."
            )
        return made

    def official(self) -> dict[str, Any]:
        """Return the configuration as plain values under the official names; `parse` reads it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            "resolution": [self.channels, self.size, self.size],
            "autoencoder": {official: values[name] for name, official in OFFICIAL.items()},
        }

    def shrink(self, scale: int) -> int:
        """Return how many times smaller than the image the latents of a scale are; scale 0 is the coarsest."""
        return int(2 ** (self.blocks + self.scales - 1 - scale))

    def width_at(self, scale: int) -> int:
        """Return the channels of the features at a scale; they double each time the image is halved."""
        return self.width * self.shrink(scale)

    @property
    def groups_per_scale(self) -> list[int]:
        """Number of latents at each scale, the coarsest first."""
        if not self.adaptive:
            return [self.groups] * self.scales
        return [max(self.min_groups, self.groups // 2**halved) for halved in reversed(range(self.scales))]

    @property
    def order(self) -> list[tuple[int, int]]:
        """(scale, group) of every latent from coarse to fine."""
        return [(scale, group) for scale, count in enumerate(self.groups_per_scale) for group in range(count)]


def _check(name: str, value: Any) -> Any:
    """Return the value if it is valid for this field, else raise PurebenchError."""
    named = OFFICIAL.get(name, name)
    if name == "adaptive":
        if not isinstance(value, bool):
            raise PurebenchError(f"nvae configuration: expected {named} to be true or false, but got {value!r}.")
        return value
    least = 0 if name in MAY_BE_ZERO else 1
    if name == "flows" and value is None:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PurebenchError(f"nvae configuration: expected {named} of at least {least}, but got {value!r}.")
    return value
