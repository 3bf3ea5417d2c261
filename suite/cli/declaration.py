"""Reads the declared properties of defenses from data files, so that listing defenses imports none of them.

A package declares its defenses in a YAML file in its package data, and names the file under the entry-point group
`purebench.declarations`, as this package does: `mine = "my_package:defenses.yaml"`, a line of which is

    my-defense: {random: true, gradient: exact, surrogate: identity, forwards: 1, licence: MIT, source: 'arXiv:…'}

A `costs.json` in the same folder contains measured times and the command that wrote it (`benchmarks/purification.py`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import shown
from purebench.core.files.validation_errors import Expected
from purebench.core.files.versioned_model import StrictModel, Whole, from_plain

VARIES = "varies"
"""Value of a property that depends on the defense's arguments: its class, its files, another defense."""
Varies = Literal["varies"]
Count = Annotated[Whole | Varies, Expected("a whole number (or varies)")]
Words = Annotated[str, Field(pattern=r"\S"), Expected("words (or varies)")]


class Declaration(StrictModel):
    """Properties of a defense at its default settings; each may be `varies`.

    Attributes:
        random: Whether two answers to an image may differ.
        gradient: `exact` where the gradient passes through the purifier, `zero` where it is zero almost everywhere,
            `none` where it cannot pass, so that exact attacks are SKIPPED.
        surrogate: The function that BPDA differentiates: `identity`, `none` where there is no purifier, or a few words.
        forwards: How often one draw passes an image through the defense's own networks (most layers of them).
        passes: How often one draw passes an image through the classifier.
        ms: CPU milliseconds per image of a draw, classifier included, None if it was not measured.
        licence: Licence of code and weights.
        source: The paper.
    """

    random: Annotated[bool | Varies, Expected("true, false (or varies)")]
    gradient: Literal["exact", "zero", "none", "varies"]
    surrogate: Words
    forwards: Count
    passes: Count = 1
    ms: Annotated[Annotated[float, Field(gt=0)] | Varies | None, Expected("milliseconds above 0 (or varies)")] = None
    licence: Words
    source: Words


def read(text: str, costs: Mapping[str, float] | None = None) -> dict[str, Declaration]:
    """Read declarations from YAML.

    Args:
        text: Content of the YAML file.
        costs: Measured times by name, in milliseconds; times in the file take precedence.

    Returns:
        Declarations by the defense's name.

    Raises:
        PurebenchError: For an unknown, missing or mistyped key; the message names the defense.
    """
    data = load_yaml(text)
    if not isinstance(data, dict):
        raise PurebenchError(f"expected a mapping of defenses, but got {shown(data)}.")
    for name, ms in (costs or {}).items():
        if isinstance(data.get(name), dict):
            data[name] = {"ms": ms, **data[name]}
    return {name: _declaration(name, facts) for name, facts in data.items()}


def _declaration(name: str, facts: Any) -> Declaration:
    try:
        return from_plain(Declaration, facts)
    except PurebenchError as error:
        raise PurebenchError(f"{name}: {error}") from error


def of_package(point: EntryPoint) -> dict[str, Declaration]:
    """Read the declarations in the file that an entry point names, `package:file.yaml`.

    Nothing is imported of a top-level package; for `a.b:file.yaml`, a is imported.

    Args:
        point: The entry point.

    Returns:
        Declarations by the defense's name.

    Raises:
        PurebenchError: If the file cannot be read; the message names it.
    """
    package, _, file = point.value.partition(":")
    try:
        found = importlib.util.find_spec(package)
    except Exception as error:  # the parent of a third-party package may raise anything
        raise PurebenchError(f"{point.value}: {package} cannot be found: {error}") from error
    places = [] if found is None else list(found.submodule_search_locations or [])
    path = next((path for place in places if (path := Path(place, file)).is_file()), None)
    if path is None:
        raise PurebenchError(
            f"{point.value}: expected {file} in the folder of {package}, but it is missing; add it to the package data."
        )
    costs = path.with_name("costs.json")
    try:
        times = json.loads(costs.read_text(encoding="utf-8"))["ms"] if costs.is_file() else {}
        return read(path.read_text(encoding="utf-8"), times)
    except (PurebenchError, OSError, ValueError, LookupError) as error:
        raise PurebenchError(f"{path}: {error}") from error


def declared() -> tuple[dict[str, Declaration], list[str]]:
    """Return the declarations of the installed defenses by name, and the errors of the files that were left out.

    A package declares only the defenses that it registers itself.
    """
    found: dict[str, Declaration] = {}
    faults: list[str] = []
    owners = {name: _owner(point) for name, point in registry.installed("defenses").items()}
    for point in registry.installed("declarations").values():
        try:
            declarations = of_package(point)
        except PurebenchError as error:
            faults.append(str(error))
            continue
        found |= {name: one for name, one in declarations.items() if owners.get(name) == _owner(point)}
    return found, faults


def _owner(point: EntryPoint) -> str:
    return "" if point.dist is None else point.dist.name
