"""Published purifiers as their code was released, by name, such as `diffpure/cifar10`, from settings.yaml.

Each loads the checkpoint that its authors name, from $PUREBENCH_MODELS. Intended differences
from the release are stated in settings.yaml and in the docstring of each function in presets.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from purebench.core.defense import Purifier
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.architectures.parametrisation import names_sub_vp
from purebench.defenses.diffusion.freqpure import FreqPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood_adam import LikelihoodAdam
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sde import DiffPureSDE
from purebench.defenses.diffusion.sde_rules import Rules
from purebench.defenses.mlvgm.official import CONVERTED, find_official
from purebench.defenses.transforms.resized import Resized

FILE = Path(__file__).with_name("settings.yaml")
RULES = ("width", "last_noise", "end", "start", "label")


@cache
def data() -> Mapping[str, Any]:
    """Return the content of settings.yaml: `files` and `procedures`."""
    loaded: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def _sde(net: nn.Module, **settings: Any) -> DiffPureSDE:
    """Build DiffPureSDE, whose rules are settings like the others in settings.yaml."""
    rules = Rules(**{name: settings.pop(name) for name in RULES if name in settings})
    return DiffPureSDE(net, rules=rules, **settings)


def _likelihood(net: nn.Module, **settings: Any) -> LikelihoodAdam:
    """Build LikelihoodAdam, which needs the denoiser of EDM."""
    if not isinstance(net, EDM):
        raise PurebenchError(f"likelihood-maximisation/iclr: expected EDM's network, but got a {type(net).__name__}.")
    return LikelihoodAdam(net, **settings)


BUILDERS: dict[str, Callable[..., Purifier]] = {
    "diffpure-sde": _sde,
    "gradual-noise": GradualNoise,
    "gdmp": GDMP,
    "likelihood-adam": _likelihood,
    "freqpure": FreqPure,
}
"""Procedures by their name in settings.yaml; each is called with a network and the settings."""


def procedure(name: str, net: nn.Module, **more: Any) -> Purifier:
    """Build a published purifier around a network.

    Args:
        name: a name of `procedures` in settings.yaml.
        net: the network, which was loaded with the procedure's `label`.
        **more: settings besides those of settings.yaml, such as `checkpointed`, or `size` in its place.
    """
    chosen = data()["procedures"][name]
    size = more.pop("size", chosen.get("size"))
    settings = {**chosen["settings"], **more}
    if chosen["build"] != "diffpure-sde":
        settings.pop("label", None)  # the network was loaded with it
    made = BUILDERS[chosen["build"]](net, **settings)
    return made if size is None else Resized(made, size=size)


def released(name: str, weights: str | None, architecture: Mapping[str, Any] | None = None, **more: Any) -> Purifier:
    """Load a published purifier.

    Args:
        name: a name of `procedures` in settings.yaml.
        weights: path of the network; None for the authors' file name in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that the file does not reveal; None for those of the published file.
        **more: settings besides those of settings.yaml, such as `checkpointed`.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
        PurebenchError: If the file is damaged or of another layout.
    """
    chosen = data()["procedures"][name]
    where = data()["files"][chosen["file"]]
    path = _find(where, weights)
    label = chosen["settings"].get("label", "time") if chosen["build"] != "diffpure-sde" else "time"
    options = dict(architecture or {})
    if weights is None and path.suffix != CONVERTED and "parametrisation" in where and not names_sub_vp(path):
        options.setdefault("parametrisation", where["parametrisation"])
    try:
        text = json.dumps(options, sort_keys=True)
    except TypeError as error:
        raise PurebenchError(f"architecture: expected numbers, texts, lists and flags, but got {options}.") from error
    return procedure(name, _network(path, _changed(path), label, text), **more)


def _find(where: Mapping[str, Any], weights: str | None) -> Path:
    """Return `weights` if it is a folder, else the path of the file under one of its names."""
    if weights is not None and Path(weights).expanduser().is_dir():
        return Path(weights).expanduser()
    digest = f"sha256 {where['sha256']}" if "sha256" in where else ""
    if "md5" in where:
        digest = f"md5 {where['md5']}" + ("" if where.get("md5_of") == "authors" else " (of a third party's copy)")
    return find_official(
        where["file"],
        where["published"],
        weights,
        also=where.get("also", ()),
        size=where.get("bytes"),
        digest=digest,
        licence=where["licence"],
        download=where.get("download", ""),
    )


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=2)
def _network(path: Path, changed: int, label: str, options: str) -> nn.Module:
    """Load a network, shared by the rows of a board that load the same file; `options` are JSON, to be hashable."""
    return network(path, json.loads(options), label=label)
