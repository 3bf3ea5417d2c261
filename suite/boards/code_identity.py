"""Identifies the code that decides a job's result: its distribution, version, and a hash of all imported source."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import IN_MEMORY, Spec
from purebench.core.source.distributions import installed_version
from purebench.core.source.fresh_modules import require_unchanged
from purebench.core.source.import_closure import Closure, ImportGraph

ALWAYS = ("torch", "torchvision")
"""Distributions that decide every result."""
NESTED = ("defenses", "classifiers", "attacks", "views")
"""Groups of registered names that may appear in the parameters of another."""
ATTACK_JOB, WORST_CASE_JOB = "purebench.execution.jobs.job", "purebench.execution.jobs.worst_case_job"
"""Modules that run a job of either kind, whatever its attack or defense."""


@dataclass(frozen=True)
class CodeIdentity:
    """The code of one part of a job.

    Attributes:
        distribution: Name of the distribution of the entry point; empty for a file and for objects in memory.
        version: Version of the distribution.
        source: sha256, as 64 hex digits, over the syntax trees of the part's module and of every module that it imports
            directly or indirectly from its own distribution, from purebench or from local code; empty if there is none.
        packages: Version of every other distribution that is imported, by its name.
        modules: Digest of each module behind `source`, by name.
    """

    distribution: str
    version: str
    source: str
    packages: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what a key hashes and a record stores of this part alone."""
        return {"distribution": self.distribution, "version": self.version, "source": self.source}


@dataclass(frozen=True)
class BoardCode:
    """The code of a board: of each attack, view and defense by its name on the board, and the code that all jobs share.

    Attributes:
        purebench: The code that runs attack jobs.
        worst_case: The code that runs worst-case jobs.
        classifier: The code of the classifier.
        dataset: The code of the data set.
        defenses: The code of each defense, by its name on the board.
        attacks: The code of each attack, by its name on the board.
        views: The code of each attack's view, by the attack's name on the board.
    """

    purebench: CodeIdentity
    worst_case: CodeIdentity
    classifier: CodeIdentity
    dataset: CodeIdentity
    defenses: Mapping[str, CodeIdentity]
    attacks: Mapping[str, CodeIdentity]
    views: Mapping[str, CodeIdentity]

    def of_job(self, defense: str, attack: str) -> dict[str, Any]:
        """Return the code of one job as plain values, for its key and its record.

        Args:
            defense: Name of the row on the board.
            attack: Name of the attack on the board.

        Returns:
            By part (classifier, dataset, defense, attack, view, purebench): its distribution, version and source; and
            under `packages` the versions of torch, torchvision and all other distributions that one of them imports.
        """
        parts = {
            "classifier": self.classifier,
            "dataset": self.dataset,
            "defense": self.defenses[defense],
            "attack": self.attacks[attack],
            "view": self.views[attack],
            "purebench": self.purebench,
        }
        packages: dict[str, str] = {}
        for part in parts.values():
            packages |= part.packages
        return {**{name: part.to_dict() for name, part in parts.items()}, "packages": dict(sorted(packages.items()))}


def code_of_board(board: Board) -> BoardCode:
    """Return the code of all jobs of a board, as the files are now.

    Args:
        board: The board. A name that is not registered has no code; `registry.create` raises the error later.

    Returns:
        The code of each part.
    """
    look = _Look()
    always = Closure({}, {}, {name: installed_version(name) for name in ALWAYS})
    return BoardCode(
        purebench=look.identity("purebench", [look.graph().closure(ATTACK_JOB), always]),
        worst_case=look.identity("purebench", [look.graph().closure(WORST_CASE_JOB), always]),
        classifier=look.code_of("classifiers", board.classifier),
        dataset=look.code_of("datasets", board.dataset.use),
        defenses={row.name: look.code_of("defenses", row.use) for row in board.defenses},
        attacks={attack.name: look.code_of("attacks", attack.use) for attack in board.attacks},
        views={attack.name: look.code_of("views", Spec.parse(attack.gradient)) for attack in board.attacks},
    )


def code_of(group: str, spec: Spec) -> CodeIdentity:
    """Return the code behind a spec, as the files are now.

    Args:
        group: Group of the registry, such as `defenses`.
        spec: A registered name or `path/to/file.py:name`, with its parameters; code that the parameters name is
            included.

    Returns:
        The identity of its code; without source for objects in memory, and for names that are not registered.
    """
    return _Look().code_of(group, spec)


class _Look:
    """Cached access to the source files; each is read only once."""

    def __init__(self) -> None:
        self.graphs: dict[tuple[str, Path | None], ImportGraph] = {}
        self.name_of = cache(lambda distribution: distribution.name if distribution else "")  # reads a metadata file
        self.version_of = cache(installed_version)

    def graph(self, own: str = "purebench", folder: Path | None = None) -> ImportGraph:
        if (own, folder) not in self.graphs:
            self.graphs[own, folder] = ImportGraph(own, folder)
        return self.graphs[own, folder]

    def code_of(self, group: str, spec: Spec) -> CodeIdentity:
        """Return the code behind a spec and behind the names in its parameters."""
        distribution, found = self.of_name(group, spec.name)
        inner = [self.of_name(*place)[1] for place in sorted(set(_nested(spec.params)))]
        return self.identity(distribution, [found, *inner])

    def of_name(self, group: str, name: str) -> tuple[str, Closure]:
        """Return the distribution of a registered name, and everything that its module imports."""
        if (path := Spec(name).path) is not None:
            return "", self.of_file(path)
        known, found = registry.registered(group, name)
        if found is None:
            return "", Closure({}, {}, {})
        if not isinstance(found, EntryPoint):
            return "", self._in_this_process(known, found)
        distribution = self.name_of(found.dist)
        return distribution, self.graph(distribution).closure(found.module)

    def of_file(self, path: Path) -> Closure:
        """Return everything that a file imports."""
        return self.graph("", path.resolve().parent).closure(path.resolve())

    def _in_this_process(self, name: str, factory: Callable[..., Any]) -> Closure:
        """Return the file of a factory that was registered by the decorator, with everything that it imports.

        Code typed into a notebook has no file: its key differs in every process, so that its results are never reused.
        """
        if name.startswith(IN_MEMORY):
            return Closure({}, {}, {})  # its records are deleted with the object
        made_of = inspect.unwrap(factory) if inspect.isroutine(factory) else factory
        module = sys.modules.get(getattr(made_of, "__module__", None) or "")
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_file():
            return self.of_file(Path(file))
        return Closure({name: _TOKENS.setdefault(id(factory), (factory, uuid.uuid4().hex))[1]}, {}, {})

    def identity(self, distribution: str, found: list[Closure]) -> CodeIdentity:
        """Return the joint identity of several closures."""
        modules: dict[str, str] = {}
        packages: dict[str, str] = {}
        places: list[list[tuple[str, str]]] = []
        for one in found:
            require_unchanged(one)
            modules |= one.modules
            packages |= one.packages
            places.append(list(one.modules.items()))
        source = hashlib.sha256(json.dumps(places).encode()).hexdigest() if modules else ""
        version = self.version_of(distribution) if distribution else ""
        return CodeIdentity(distribution, version, source, dict(sorted(packages.items())), modules)


_TOKENS: dict[int, tuple[Callable[..., Any], str]] = {}
"""A unique word for each factory without a file, different in every process; the factory is kept so that its id stays
valid."""


def _nested(value: Any) -> Iterator[tuple[str, str]]:
    """Yield group and name of everything that a parameter may refer to: names, specs and files at any depth."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from _nested(one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _nested(key)
            yield from _nested(one)
    elif isinstance(value, str):
        try:
            spec = Spec.parse(value)
        except PurebenchError:
            return  # a word, not a spec
        if spec.path is not None:
            yield NESTED[0], spec.name
        else:
            yield from ((group, spec.name) for group in NESTED if registry.registered(group, spec.name)[1] is not None)
        yield from _nested(spec.params)
