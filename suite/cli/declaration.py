"""Reads the declared properties of defenses from data files, so that listing defenses imports none of them.

A package declares its defenses in a YAML file in its package data, and names the file under the entry-point group
`purebench.declarations`, as this package does: `mine = "my_package:defenses.yaml"`, a line of which is

    my-defense: {random: true, gradient: exact, surrogate: identity, forwards: 1, licence: MIT, source: 'arXiv:…'}

A `costs.json` beside it holds measured times, with the command that wrote it (`benchmarks/purification.py`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import yaml

from purebench.core import registry
from purebench.core.errors import PurebenchError, nearest

VARIES = "varies"
"""Value of a property that depends on the defense's arguments: its class, its files, another defense."""
GRADIENTS = ("exact", "zero", "none", VARIES)


@dataclass(frozen=True, kw_only=True)
class Declaration:
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

    random: bool | str
    gradient: str
    surrogate: str
    forwards: int | str
    passes: int | str = 1
    ms: float | str | None = None
    licence: str
    source: str


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
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PurebenchError("expected YAML, but " + " ".join(str(error).split())) from error
    if not isinstance(data, dict):
        raise PurebenchError(f"expected a mapping of defenses, but got {data!r}.")
    times = costs or {}
    return {str(name): _declaration(str(name), facts, times.get(str(name))) for name, facts in data.items()}


def _declaration(name: str, facts: Any, ms: float | None) -> Declaration:
    known = {field.name: field for field in fields(Declaration)}
    if not isinstance(facts, dict):
        raise PurebenchError(f"{name}: expected a mapping with {', '.join(known)}, but got {facts!r}.")
    for key in facts:
        if key not in known:
            raise PurebenchError(f"{name}: the key {key!r} is unknown; {nearest(str(key), known)}")
    for key, field in known.items():
        if field.default is MISSING and key not in facts:
            raise PurebenchError(f"{name}: expected the key {key!r}, but it is missing.")
    made = Declaration(**{"ms": ms, **facts})
    _check(name, "random", "true, false", made.random in (True, False, VARIES) and not _number(made.random))
    _check(name, "gradient", " or ".join(GRADIENTS[:-1]), made.gradient in GRADIENTS)
    for key in ("forwards", "passes"):
        value = vars(made)[key]
        _check(name, key, "a whole number", value == VARIES or (isinstance(value, int) and _number(value)))
    _check(name, "ms", "milliseconds", made.ms in (None, VARIES) or (_number(made.ms) and float(made.ms or 0) > 0))
    for key in ("surrogate", "licence", "source"):
        _check(name, key, "words", isinstance(vars(made)[key], str) and vars(made)[key].strip() != "")
    return made


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _check(name: str, key: str, expected: str, good: bool) -> None:
    if not good:
        raise PurebenchError(f"{name}: {key}: expected {expected} (or {VARIES}).")


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
        raise PurebenchError(f"{point.value}: expected {file} in the folder of {package}; is it in its package data?")
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
