"""The paper's competitors by task, such as `nd-vae-released/gender`: what presets.yaml says, over official files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from purebench.core.errors import PurebenchError, nearest
from purebench.defenses.mlvgm.formats import load_any
from purebench.defenses.mlvgm.official import find_official

FILE = Path(__file__).with_name("presets.yaml")
NO_TEMPERATURE = 1.0
"""What is handed over: neither kind reads it."""


@cache
def data() -> Mapping[str, Any]:
    """presets.yaml: `published` and `tasks`."""
    loaded: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def task(who: str, name: str) -> Mapping[str, Any]:
    """A task's part of presets.yaml; `who` asks. Raises PurebenchError for an unknown one."""
    tasks = data()["tasks"]
    if name not in tasks:
        raise PurebenchError(f"{who}: {name!r} is unknown; {nearest(name, tasks)}")
    chosen: Mapping[str, Any] = tasks[name]
    return chosen


def official(who: str, kind: str, name: str, weights: str | None = None) -> nn.Module:
    """The model of a kind, a-vae or nd-vae, for a task, from the authors' file or its conversion.

    weights: None for where `find_official` looks.
    Raises MissingFiles naming the file and where it is published, and PurebenchError for an unknown task or a file
    of another architecture than the task's.
    """
    chosen = task(who, name)[kind]
    path = find_official(chosen["file"], data()["published"], weights)
    model = load_any(kind, path, temperature=NO_TEMPERATURE)
    found = model.architecture
    assert isinstance(found, dict)
    if not any(allowed.items() <= found.items() for allowed in chosen["architectures"]):
        got = {key: found[key] for key in chosen["architectures"][0]}
        expected = " or ".join(map(str, chosen["architectures"]))
        raise PurebenchError(f"{path}: expected the {kind} of {name}, {expected}, but got {got}; name the right file.")
    return model
