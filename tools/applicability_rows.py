"""Builds every registered purifier with few steps; small random networks replace files that a user must have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core import registry
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.released.settings import data, procedure
from purebench.defenses.ebm.hill import HillEnergy
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.mlvgm.presets import data as presets
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.stylegan.e4e import E4E
from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer

BUNDLED = {
    "none": "none",
    "gaussian-noise": "gaussian-noise",
    "gaussian-blur": "gaussian-blur",
    "quantise": "quantise",
    "jpeg": "jpeg",
    "median": "median",
    "tv-minimisation": "tv-minimisation(steps=2)",
    "random-resize-pad": "random-resize-pad",
    "mlvgm-hvae": "mlvgm-hvae",
    "mlvgm-nvae": "mlvgm-nvae",
    "mlvgm-stylegan": "mlvgm-stylegan",
    "vae": "vae",
    "a-vae": "a-vae(samples=2)",
    "a-vae-released": "a-vae-released",
    "nd-vae": "nd-vae",
    "nd-vae-released": "nd-vae-released",
    "puvae": "puvae",
    "defense-vae": "defense-vae",
    "defense-gan": "defense-gan(steps=2)",
    "ebm-langevin": "ebm-langevin(steps=1)",
    "diffpure": "diffpure(steps=1)",
    "diffpure-sde": "diffpure-sde(steps=1)",
    "gradual-noise": "gradual-noise(schedule=[20, 30])",
    "gdmp": "gdmp(steps=1, rounds=1)",
    "likelihood-maximisation": "likelihood-maximisation(steps=1, draws=1)",
}
"""Spec with few steps, by the name of a defense whose weights are bundled."""
COMPOSED = {
    "vote": ("diffpure", "ebm-langevin", "mlvgm-hvae"),
    "resized": ("diffpure", "mlvgm-hvae"),
    "before": ("diffpure", "mlvgm-hvae"),
    "smoothing": (None, "ddpm", "diffpure"),
}
"""The defenses inside of which each wrapper is shown."""
STEPS: Mapping[str, Mapping[str, Any]] = {
    "diffpure-sde": {"steps": 2},
    "gradual-noise": {"schedule": [20, 30], "steps": [2, 2]},
    "gdmp": {"t": 6, "steps": 2, "start": 7},
    "likelihood-adam": {"steps": 1},
    "freqpure": {"schedule": [20, 30], "steps": [2, 2]},
}
"""Settings with few steps of the published purifiers, by the procedure of settings.yaml."""
STYLES: Mapping[str, Any] = {
    "widths": (4, 8, 12, 16),
    "depths": (2, 1, 3, 2),
    "reduction": 4,
    "mappings": 3,
    "channels": {4: 16, 8: 12, 16: 8, 32: 6, 64: 4},
}
NVAE_SIZES = {
    "num_scales": 3,
    "num_groups_per_scale": 8,
    "is_adaptive": False,
    "min_groups_per_scale": 8,
    "num_cells_per_group": 1,
    "num_latent_per_group": 2,
    "num_nf_cells": None,
    "initial_channels": 4,
    "num_pre-post_process_blocks": 1,
    "num_pre-post_process_cells": 1,
    "num_logistic_mixtures": 2,
}
MODELS: Mapping[str, Callable[[], MLVGM]] = {
    "nvae": lambda: NVAE({"resolution": [3, 32, 32], "autoencoder": NVAE_SIZES}, 0.6),
    "e4e": lambda: E4E(size=64, image=32, **STYLES),
    "style-transformer": lambda: StyleTransformer(size=64, image=32, heads=2, hidden=24, **STYLES),
}
"""Small models of the kinds that `mlvgm/TASK-SCHEDULE` loads."""
LEFT_OUT = {
    "art": "depends on the preprocessing of ART",
    "trades": "a classifier",
    "cifar10-fast-at": "a classifier",
    "trades-released": "a classifier",
    "pgd-at": "a classifier",
    "robustbench": "a classifier",
    "masked": "a control",
    "verified": "a control",
    "lipschitz": "a control",
    "certified-noise": "a control",
    "linear-noise": "a control",
    "conflict": "a control",
    "coin": "a control",
}
"""Registered defenses that are not in the table, and why."""


class Predictor(nn.Module):
    """A small noise predictor of three colours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the predicted noise [N,3,H,W]."""
        return 0.9 * x + torch.tanh(self.layer(x)) * t.to(x.dtype).view(-1, 1, 1, 1) / 1000


class Classifier(nn.Module):
    """A small classifier of images of any size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool, self.last = nn.AdaptiveAvgPool2d(4), nn.Linear(16 * channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,10]."""
        logits: Tensor = self.last(10 * self.pool(x).flatten(1))
        return logits


Row = tuple[str, Callable[[], Defense], Tensor]
"""Name in the table, the function that builds the defense, and images for it, [N,C,H,W]."""


def images(channels: int, side: int) -> Tensor:
    """Return images [2,channels,side,side]."""
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def every_row() -> list[Row]:
    """Return all rows of the table, in the order of the registration."""
    rows: list[Row] = [(name, partial(_created, text), images(1, 32)) for name, text in BUNDLED.items()]
    rows += [(name, partial(_published, name), images(3, 8)) for name in data()["procedures"]]
    rows.append(("ebm-langevin/hill", _hill, images(3, 16)))
    tasks = presets()["tasks"].items()
    rows += [(f"mlvgm/{task}-…", partial(_mlvgm, chosen["model"]), images(3, 32)) for task, chosen in tasks]
    wrapped = [_wrapped(wrapper, one) for wrapper, inner in COMPOSED.items() for one in inner]
    return [*rows, *((told, partial(_created, text), images(1, 32)) for told, text in wrapped)]


def registered() -> set[str]:
    """Return the registered names behind the rows; those of a task are one name."""
    return {name.partition("/")[0] if name.startswith("mlvgm/") else name.partition("(")[0] for name, *_ in every_row()}


def _created(text: str) -> Defense:
    with seeded("classifier"):
        classifier = Classifier(1)
    return as_defense(registry.create("defenses", Spec.parse(text), classifier=classifier), classifier)


def _behind(purifier: Purifier) -> Defense:
    with seeded("classifier"):
        return as_defense(purifier, Classifier(3))


def _published(name: str) -> Defense:
    chosen = data()["procedures"][name]
    with seeded("network"):
        network: nn.Module = Predictor()
        if chosen["settings"].get("variance") == "learned":
            network = GuidedUNet(width=8, multiples=(1,), blocks=1, attended=(False,), head_width=8, groups=4)
        if chosen["build"] == "likelihood-adam":
            network = EDM(size=8, width=8, multiples=(1, 2), blocks=1, attended=(False, True))
    size = {"size": 8} if "size" in chosen else {}
    short = dict(STEPS[chosen["build"]])
    if name == "ddpm-surrogate/cifar10":
        short |= {"schedule": [20], "steps": [2]}
    return _behind(procedure(name, network.eval(), **size, **short))


def _hill() -> Defense:
    with seeded("network"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ebm.pth"
        torch.save(HillEnergy(channels=3, width=4, side=2).state_dict(), path)
        made = registry.create("defenses", Spec("ebm-langevin/hill", {"weights": str(path), "steps": 3}))
    assert isinstance(made, Purifier)
    return _behind(made)


def _mlvgm(kind: str) -> Defense:
    with seeded("network"):
        return _behind(MLVGMPurifier(MODELS[kind]().eval(), schedule="cosine", attenuation=0.7))


def _wrapped(wrapper: str, inner: str | None) -> tuple[str, str]:
    """Return a wrapper with a defense inside as it is told in the table, and as it is created with few steps."""
    spec = BUNDLED.get(inner or "", inner)
    if inner is None:
        return wrapper, f"{wrapper}(draws=2)"
    if wrapper == "smoothing":
        return f"smoothing(denoiser={inner})", f"smoothing(draws=2, denoiser='{spec}')"
    key = "defense" if wrapper == "vote" else "purifier"
    more = {"vote": ", draws=2", "resized": ", size=32", "before": ", classifier=fashion-resnet"}[wrapper]
    return f"{wrapper}({key}={inner})", f"{wrapper}({key}='{spec}'{more})"
