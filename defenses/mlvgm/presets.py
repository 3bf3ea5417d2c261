"""The paper's purifiers by name, such as `mlvgm/gender-learned-blur`, from presets.yaml and official checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses.mlvgm.kinds import MLVGMS
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.official import NO_TEMPERATURE, find_official, load_official
from purebench.defenses.mlvgm.purifier import FixedNormNoise, MLVGMPurifier
from purebench.defenses.transforms.simple import GaussianBlur

FILE = Path(__file__).with_name("presets.yaml")
SCHEDULES = ("linear", "cosine", "learned")
PREPARED = ("none", "noise", "blur")


@cache
def data() -> Mapping[str, Any]:
    """Return the content of presets.yaml: `models` and `tasks`."""
    loaded: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def preset_names() -> list[str]:
    """Return the names of the paper's 27 purifiers, and of the noise and the blur alone from its ablations.

    >>> preset_names()[:4]
    ['gender-linear', 'gender-linear-noise', 'gender-linear-blur', 'gender-cosine']
    """
    purifiers = [
        f"{task}-{schedule}" + (f"-{how}" if how != "none" else "")
        for task in data()["tasks"]
        for schedule in SCHEDULES
        for how in PREPARED
    ]
    return purifiers + [f"{task}-{how}" for task in data()["tasks"] for how in PREPARED[1:]]


@listed(
    random="varies",
    gradient="exact",
    surrogate="identity",
    forwards="varies",
    ms="varies",
    licence="varies",
    source="Serez et al. 2025, arXiv:2412.03453",
)
def preset(*, name: str, weights: str | None = None, temperature: float | None = None, clamp: bool = True) -> Purifier:
    """Load a purifier of Serez et al. 2025 for faces or cars, mlvgm/TASK-SCHEDULE[-noise|-blur]; needs official files.

    Args:
        name: a task (gender, ids, cars), a schedule (linear, cosine, learned), and `noise` or `blur` for a transform
            before encoding; `none` may be written or left out. A task with noise or blur but no schedule is the paper's
            ablation, which needs no model.
        weights: the authors' checkpoint or its conversion; None for the authors' file name in the folder
            $PUREBENCH_MODELS.
        temperature: temperature of the NVAE's samples; None for the paper's.
        clamp: whether purified images are clamped to [0,1]; the release does not (`clamp=False`). Where an image is
            outside, the clamp's gradient is zero.

    Raises:
        PurebenchError: If the name is unknown, or an argument does not apply to it.
        MissingFiles: If the official file does not exist; the message states where it is published.
    """
    name = name.removesuffix("-none")
    if name not in preset_names():
        raise PurebenchError(f"mlvgm: {name!r} is unknown; {did_you_mean(name, preset_names())}")
    task, *parts = name.split("-")
    chosen, how = data()["tasks"][task], parts[-1]
    if parts[0] not in SCHEDULES:
        if weights is not None or temperature is not None or not clamp:
            raise PurebenchError(
                f"mlvgm: expected no weights, temperature or clamp for {name}, which has no model; drop them."
            )
        return FixedNormNoise(chosen["noise"]["alone"]) if how == "noise" else GaussianBlur(chosen["blur"])
    where = data()["models"][chosen["model"]]
    if temperature is not None and "temperature" not in chosen:
        raise PurebenchError(f"mlvgm: expected no temperature for {chosen['model']}, but got one; leave it out.")
    path = find_official(where["file"], where["published"], weights, also=where.get("also", ()))
    own = chosen.get("temperature", NO_TEMPERATURE)
    model = _model(chosen["model"], path, path.stat().st_mtime_ns, own if temperature is None else temperature)
    return MLVGMPurifier(
        model,
        schedule=chosen[parts[0]],
        attenuation=chosen["attenuation"],
        blur=chosen["blur"] if how == "blur" else 0.0,
        noise=chosen["noise"][parts[0]] if how == "noise" else 0.0,
        clamp=clamp,
    )


@lru_cache(maxsize=1)
def _model(kind: str, path: Path, changed: int, temperature: float) -> MLVGM:
    """Load the model, shared by all presets of a board.

    Nine copies of hundreds of millions of weights would fill a device.
    """
    model = load_official(path, kind, *MLVGMS[kind](), temperature=temperature)
    assert isinstance(model, MLVGM)
    return model
