"""The paper's baselines by task, such as `nd-vae-released/gender`, from presets.yaml and official files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses.mlvgm.official import Build, Content, find_official, load_official

Read = Callable[[Path, Content], nn.Module]
"""(path, for error messages; content of the file) → the model, loaded strictly."""
FILE = Path(__file__).with_name("presets.yaml")


@cache
def data() -> Mapping[str, Any]:
    """Return the content of presets.yaml: `published` and `tasks`."""
    loaded: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def task(who: str, name: str) -> Mapping[str, Any]:
    """Return a task's part of presets.yaml.

    Args:
        who: name of the defense, for the error message.
        name: name of the task.

    Raises:
        PurebenchError: If the task is unknown.
    """
    tasks = data()["tasks"]
    if name not in tasks:
        raise PurebenchError(f"{who}: {name!r} is unknown; {did_you_mean(name, tasks)}")
    chosen: Mapping[str, Any] = tasks[name]
    return chosen


def official(who: str, kind: str, read: Read, build: Build, name: str, weights: str | None) -> nn.Module:
    """Load the model of a task from the authors' file or its conversion.

    Args:
        who: name of the defense, for error messages.
        kind: `a-vae` or `nd-vae`.
        read: reads the authors' file.
        build: builds the model of a converted file.
        name: name of the task.
        weights: path of the file; None for the authors' file name in the folder $PUREBENCH_MODELS.

    Raises:
        MissingFiles: If the file does not exist; the message states where it is published.
        PurebenchError: If the task is unknown, or the file has another architecture than the task's.
    """
    chosen = task(who, name)[kind]
    path = find_official(chosen["file"], data()["published"], weights)
    model = load_official(path, kind, lambda where, content, _: read(where, content), build)
    found = model.architecture
    assert isinstance(found, dict)
    if not any(allowed.items() <= found.items() for allowed in chosen["architectures"]):
        got = {key: found[key] for key in chosen["architectures"][0]}
        expected = " or ".join(map(str, chosen["architectures"]))
        raise PurebenchError(f"{path}: expected the {kind} of {name}, {expected}, but got {got}; name the right file.")
    return model
