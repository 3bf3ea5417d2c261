"""Registry of factories by name: entry points, a decorator for local code, and `path/to/file.py:name`.

Built-in factories use the same entry-point groups as those of other packages. A module is imported only when one of its
factories is used. A `Spec` records the name and the arguments, so that a result can be replayed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from purebench.core.arguments import unknown_parameter
from purebench.core.errors import Inapplicable, PurebenchError, did_you_mean
from purebench.core.source.fresh_modules import refresh_entry_point, refresh_file

GROUPS = ("defenses", "attacks", "views", "classifiers", "datasets", "recipes", "converters")
LOCAL: dict[str, dict[str, Callable[..., Any]]] = {group: {} for group in GROUPS}
IN_MEMORY = "in-memory:"
"""Prefix of the specs of objects that exist in one process only, so that they are not taken for registered names."""
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Spec:
    """A registered name and the keyword arguments for its factory.

    Attributes:
        name: an entry-point name (`apgd`), a name of another package behind its prefix (`foolbox:LinfPGD`), a member of
            a family behind its name (`mlvgm/gender-linear`), or `path/to/file.py:name`.
        params: the keyword arguments.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Any) -> Spec:
        """Parse `name`, `name(key=value, …)` or `{name: {key: value}}`; values are Python literals or bare words.

        Raises:
            PurebenchError: the value has another form, or a parameter is not a number, word or list.

        Examples:
            >>> Spec.parse("apgd(steps=20, loss=ce)")
            Spec(name='apgd', params={'steps': 20, 'loss': 'ce'})
        """
        if isinstance(value, Spec):
            return value
        spec = None
        if isinstance(value, str):
            spec = cls._from_text(value.strip())
        elif isinstance(value, dict) and len(value) == 1:
            ((name, params),) = value.items()
            if isinstance(name, str) and (params is None or isinstance(params, dict)):
                spec = cls(name, dict(params or {}))
        if spec is not None:
            try:
                json.dumps(spec.plain(), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise PurebenchError(f"{spec.name}: expected numbers, words and lists, but {error}.") from error
            return spec
        raise PurebenchError(f"expected name, name(key=value) or {{name: {{key: value}}}}, but got {value!r}.")

    @classmethod
    def _from_text(cls, text: str) -> Spec:
        found = re.fullmatch(r"([^()\s]+)(?:\((.*)\))?", text, re.DOTALL)
        if not found:
            raise PurebenchError(f"expected name or name(key=value, …), but got {text!r}.")
        name, arguments = found.groups()
        try:
            call = ast.parse(f"f({arguments or ''})", mode="eval").body
            assert isinstance(call, ast.Call)
            if call.args or any(keyword.arg is None for keyword in call.keywords):
                raise ValueError("every argument needs a name")
            source = f"f({arguments or ''})"
            params = {str(keyword.arg): _value(source, keyword.value) for keyword in call.keywords}
        except (SyntaxError, ValueError, AssertionError) as error:
            raise PurebenchError(f"expected key=value arguments, but got {text!r} ({error}).") from error
        return cls(name, params)

    def plain(self) -> Any:
        """Return a value that `parse` accepts: the name alone, or {name: params}."""
        return {self.name: dict(self.params)} if self.params else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a job's key, which also contains the code behind the name (see `code_identity`)."""
        return {"name": self.name, "params": dict(self.params)}

    @property
    def path(self) -> Path | None:
        """The file of a `path/to/file.py:name`, else None."""
        file, colon, _ = self.name.rpartition(":")
        return Path(file) if colon and file.endswith(".py") else None

    def __str__(self) -> str:
        params = ", ".join(f"{key}={value!r}" for key, value in self.params.items())
        return f"{self.name}({params})" if params else self.name


WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "null": None}
"""Bare words with a value of their own, as in YAML."""


def _value(source: str, node: ast.expr) -> Any:
    """Return the value of a Python literal, a bare word such as `ce-scaled`, or a list of both.

    Raises:
        ValueError: the value is anything else.
    """
    text = ast.get_source_segment(source, node) or ""
    if re.fullmatch(r"[A-Za-z_][\w.-]*", text) and not isinstance(node, ast.Constant):
        return WORDS.get(text.lower(), text)
    if isinstance(node, ast.List):
        return [_value(source, each) for each in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a Python literal nor a word") from error


def register(group: str, name: str) -> Callable[[Factory], Factory]:
    """Register a factory for this process, as a decorator of a function or class: `@register("defenses", "mine")`.

    Args:
        group: a name in GROUPS.
        name: the name of the factory.

    Raises:
        PurebenchError: the group is unknown.
    """
    if group not in GROUPS:
        raise PurebenchError(f"register: the group {group!r} is unknown; {did_you_mean(group, GROUPS)}")

    def keep(factory: Factory) -> Factory:
        LOCAL[group][name] = factory
        return factory

    return keep


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the group's entry points of all installed packages by name, in alphabetical order."""
    changed = tuple((folder, os.stat(folder).st_mtime_ns) for folder in sys.path if os.path.exists(folder))
    found = [point for point in _points(changed) if point.group == f"purebench.{group}"]
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


@lru_cache(maxsize=1)
def _points(changed: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Return all entry points; they are read again when a package folder changes, as after an installation."""
    every = entry_points()
    return tuple(point for group in every.groups for point in every.select(group=group))


def factory(group: str, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the factory of a name, and the arguments that follow from its prefix.

    Args:
        group: the group of the registry, such as `attacks`.
        name: the name, or `path/to/file.py:name`.

    Raises:
        PurebenchError: there is no such factory (the message suggests the nearest names), or its module cannot be
            imported.
    """
    if name.endswith(".py"):
        raise PurebenchError(
            f"{group}: expected path/to/file.py:name, but got {name!r}; add the name of a function or class in the "
            "file."
        )
    if path := Spec(name).path:
        return _from_file(group, path, name.rpartition(":")[2]), {}
    known, found = registered(group, name)
    if found is None:
        raise PurebenchError(f"{group}: {name!r} is unknown; {did_you_mean(name, [*installed(group), *LOCAL[group]])}")
    extra = {"name": name[len(known) + 1 :]} if known != name else {}
    if not isinstance(found, EntryPoint):
        return found, extra
    try:
        refresh_entry_point(found)
        return found.load(), extra
    except (ImportError, AttributeError) as error:
        raise PurebenchError(f"{group}: {known!r} of {found.value} cannot be imported: {error}") from error


def registered(group: str, name: str) -> tuple[str, Callable[..., Any] | EntryPoint | None]:
    """Find the factory that is registered under a name, or under its prefix.

    Args:
        group: the group of the registry, such as `attacks`.
        name: a name such as `apgd`, or `foolbox:LinfPGD`, of which `foolbox` is the prefix.

    Returns:
        The registered name, and its factory or entry point; None instead of a factory if there is neither.
    """
    points = installed(group)
    prefix = name.partition(":" if ":" in name else "/")[0]
    for known in dict.fromkeys((name, prefix)):
        if known in LOCAL[group]:
            return known, LOCAL[group][known]
        if known in points:
            return known, points[known]
    return name, None


def _from_file(group: str, path: Path, name: str) -> Callable[..., Any]:
    if not path.is_file():
        raise PurebenchError(f"{group}: expected a Python file, but {path} does not exist.")
    # the name depends on the contents too: a file may change while a notebook runs, and a job's key has the new ones
    decides = f"{path.resolve()}\0{refresh_file(path)}".encode()
    module_name = f"purebench_local_{hashlib.sha256(decides).hexdigest()[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise PurebenchError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    if name in LOCAL[group]:
        return LOCAL[group][name]
    if hasattr(module, name) and not callable(getattr(module, name)):
        told = f"{name} is {getattr(module, name)!r:.60}"
        raise PurebenchError(f"{path}: expected a class or a function that returns one of the {group}, but {told}.")
    if not callable(found := getattr(module, name, None)):
        raise PurebenchError(
            f"{path}: {name!r} is unknown; {did_you_mean(name, [n for n in vars(module) if n[0] != '_'])}"
        )
    return found  # type: ignore[no-any-return]


def create(group: str, spec: Spec, **context: Any) -> Any:
    """Call the factory of a spec with the spec's parameters, and return the object that it makes.

    Args:
        group: the group of the registry, such as `attacks`.
        spec: the name and the parameters.
        context: objects that are passed to factories with a parameter of that name, such as the board's classifier.

    Raises:
        PurebenchError: the name or a parameter is unknown, or the factory fails; its own PurebenchError is passed on.
        Inapplicable: raised by the factory.
    """
    make, params = factory(group, spec.name)
    params |= dict(spec.params)
    takes = inspect.signature(make).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    for key in params:
        if key not in takes and not anything:
            raise unknown_parameter(spec.name, key, takes)
    params |= {key: value for key, value in context.items() if key in takes and key not in params}
    for key, parameter in takes.items():
        required = parameter.default is parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if required and key not in params:
            raise PurebenchError(f"{spec.name}: expected the parameter {key!r}, but it is missing.")
    if not (getattr(make, "__module__", None) or "").startswith("purebench."):  # our own check their parameters
        from purebench.core.parameters import check_arguments  # pydantic takes a while to import

        check_arguments(spec.name, make, dict(spec.params))
    try:
        made = make(**params)
    except (PurebenchError, Inapplicable):
        raise
    except (Exception, SystemExit) as error:  # factories of third parties may raise any error
        raise PurebenchError(f"{spec.name}: cannot be made from {spec}: {type(error).__name__}: {error}") from error
    if made is None:
        raise PurebenchError(
            f"{spec.name}: expected the created object, but the factory returned None; add a `return`."
        )
    return made


def names(group: str) -> list[str]:
    """Return all registered names of a group, entry points and local ones, sorted."""
    return sorted({*installed(group), *LOCAL[group]})
