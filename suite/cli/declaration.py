"""Reads the declared properties of defenses without importing them.

A defense is declared in its own file, by the decorator `listed` above the factory (core/defense/listed.py), which is
read from the source. The measured times of this package's defenses are in defenses/costs.json.

A package may declare its defenses in a YAML file in its package data instead, and name the file under the entry-point
group `purebench.declarations`: `mine = "my_package:defenses.yaml"`, a line of which is

    my-defense: {random: true, gradient: exact, surrogate: identity, forwards: 1, licence: MIT, source: 'arXiv:…'}

A `costs.json` in the same folder contains measured times and the command that wrote it (`benchmarks/purification.py`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import shown
from purebench.core.files.validation_errors import Expected
from purebench.core.files.versioned_model import StrictModel, Whole, from_plain
from purebench.core.source.decorator_arguments import listed_arguments

VARIES = "varies"
"""Value of a property that depends on the defense's arguments: its class, its files, another defense."""
Varies = Literal["varies"]
Count = Annotated[Whole | Varies, Expected("a whole number (or varies)")]
Words = Annotated[str, Field(pattern=r"\S"), Expected("words (or varies)")]


class Declaration(StrictModel):
    """Properties of a defense at its default settings; each may be `varies`.

    They are the arguments of `purebench.core.defense.listed`, which describes them.
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


def of_source(point: EntryPoint) -> Declaration | None:
    """Read the declaration above a factory, from its source; the time of a defense of this package is in costs.json.

    Args:
        point: The entry point of the defense.

    Returns:
        The declaration, None if there is none.

    Raises:
        PurebenchError: For an unknown, missing or mistyped property; the message names the defense.
    """
    try:
        given = listed_arguments(point)
    except ValueError as error:
        raise PurebenchError(f"{point.name}: {error}; write the properties as literals.") from error
    if given is None:
        return None
    if given[0]:
        raise PurebenchError(f"{point.name}: expected properties by name, but got listed({given[0][0]!r}, …).")
    ms = _own_costs().get(point.name) if _is_own(point) else None
    return _declaration(point.name, {"ms": ms, **given[1]})


@cache
def _own_costs() -> Mapping[str, float]:
    """Return the measured times of this package's defenses by name, in milliseconds."""
    text = files("purebench.defenses").joinpath("costs.json").read_text(encoding="utf-8")
    times: Mapping[str, float] = json.loads(text)["ms"]
    return times


def declared() -> tuple[dict[str, Declaration], list[str]]:
    """Return the declarations of the installed defenses by name, and the errors of the declarations that were left out.

    A package declares only the defenses that it registers itself.
    """
    found: dict[str, Declaration] = {}
    faults: list[str] = []
    points = registry.installed("defenses")
    owners = {name: _owner(point) for name, point in points.items()}
    for point in registry.installed("declarations").values():
        try:
            declarations = of_package(point)
        except PurebenchError as error:
            faults.append(str(error))
            continue
        found |= {name: one for name, one in declarations.items() if owners.get(name) == _owner(point)}
    for name, point in points.items():
        try:
            one = of_source(point)
        except PurebenchError as error:
            faults.append(f"{point.value}: {error}")
            continue
        found |= {} if one is None else {name: one}
    return found, faults


def own() -> dict[str, Declaration]:
    """Return the declarations of this package's defenses by name.

    Raises:
        PurebenchError: If one is invalid.
    """
    points = {name: point for name, point in registry.installed("defenses").items() if _is_own(point)}
    return {name: one for name, point in points.items() if (one := of_source(point)) is not None}


def _is_own(point: EntryPoint) -> bool:
    return point.value.startswith("purebench.")


def _owner(point: EntryPoint) -> str:
    return "" if point.dist is None else point.dist.name
