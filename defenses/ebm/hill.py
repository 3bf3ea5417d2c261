"""Langevin purification as released by Hill, Mitchell & Zhu 2021 (arXiv:2005.13525), with their energy for CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import filled
from purebench.defenses.ebm.langevin import EBMLangevin
from purebench.defenses.mlvgm.official import find_official, load_official
from purebench.defenses.unwrapping import unwrap

KIND = "hill-energy"
PUBLISHED = "https://github.com/point0bar1/ebm-defense/releases (ebm.pth)"
LEAK = 0.05


class HillEnergy(nn.Module):
    """Energy of images [N,channels,H,W] in or near [0,1] as energies [N]; piecewise linear in the images.

    Args:
        channels: channels of the images.
        width: channels after the first convolution; each of the next three doubles them.
        side: pixels a side of the last convolution, an eighth of the images'.
    """

    def __init__(self, *, channels: int = 3, width: int = 32, side: int = 4):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1)]
        for inner, outer in pairwise(widths):
            layers += [nn.LeakyReLU(LEAK), nn.Conv2d(inner, outer, 4, 2, 1)]
        self.f = nn.Sequential(*layers, nn.LeakyReLU(LEAK), nn.Conv2d(widths[-1], 1, side, 1, 0))
        self.architecture = {"channels": channels, "width": width, "side": side}

    def forward(self, x: Tensor) -> Tensor:
        """Return energies [N]."""
        energy: Tensor = self.f(2 * x - 1).flatten(1)[:, 0]
        return energy


def hill_energy_from(path: Path, content: Mapping[str, Any]) -> HillEnergy:
    """Build the energy from the content of its official file.

    Args:
        path: the file, for error messages only.
        content: its content.

    Raises:
        PurebenchError: If keys, shapes or values do not fit.
    """
    state = unwrap(content).state
    first, last = state.get("f.0.weight"), state.get("f.8.weight")
    if not (isinstance(first, Tensor) and isinstance(last, Tensor) and first.ndim == last.ndim == 4):
        some = ", ".join(sorted(map(str, state))[:3])
        raise PurebenchError(f"{path}: expected an energy of five convolutions (f.0 … f.8), but its keys are {some} …")
    with torch.device("meta"):
        model = HillEnergy(channels=first.shape[1], width=first.shape[0], side=last.shape[-1])
    return filled(path, model, state)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=1500,
    ms=None,
    licence="MIT",
    source="Hill et al. 2021, arXiv:2005.13525",
)
def ebm_langevin_hill(*, weights: str | None = None, steps: int = 1500) -> EBMLangevin:
    """Run 1,500 Langevin steps on the energy of Hill et al. 2021 for CIFAR-10, as released.

    The energy is piecewise linear, so the exact gradient is the identity, the same as BPDA's. The release answers by
    the mean logits of 150 chains: vote(defense='ebm-langevin/hill', draws=150, how=logits).

    Args:
        weights: the authors' file or its conversion; None for `ebm/ebm.pth` in the folder $PUREBENCH_MODELS.
        steps: number of steps.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
    """
    path = find_official("ebm/ebm.pth", PUBLISHED, weights, licence="MIT")
    energy = load_official(path, KIND, lambda where, content, _: hill_energy_from(where, content), HillEnergy)
    # z in [-1,1] moves by -dU/dz + 0.01 noise in the release, which is rate 0.25 and noise 0.005 for x = (z + 1) / 2
    return EBMLangevin(energy, steps=steps, rate=0.25, temperature=5e-5, clamp=False, piecewise_linear=True)
