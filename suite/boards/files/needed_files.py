"""Lists the published files that a board needs, without loading any of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.core import registry
from purebench.core.errors import Inapplicable, Missing, MissingFiles, PurebenchError
from purebench.core.files.published import LookedUp, listing
from purebench.core.registry import Spec

IMAGES, CLASSIFIER = "images", "classifier"
"""The parts of a board that all its rows need."""


@dataclass(frozen=True)
class NeededFile:
    """A published file that a board needs.

    Attributes:
        file: the file.
        found: where it is on this machine, perhaps under another of its names; None if it is missing.
        parts: what needs it: `images`, `classifier`, and names of rows and attacks.
    """

    file: Missing
    found: Path | None
    parts: tuple[str, ...]


def needed_files(board: Board) -> list[NeededFile]:
    """Return the published files that a board needs, each once; images and classifier come first.

    Files within a parameter, such as those of `before(purifier=…, classifier=…)`, are all listed. Other faults of a
    part, such as an unknown name, are left to the run.

    Args:
        board: the board; the Python files that it names are run.
    """
    return files_and_faults(board)[0]


def files_and_faults(board: Board) -> tuple[list[NeededFile], dict[str, str]]:
    """Return the files that a board needs (see `needed_files`), and by part why it cannot be made whatever is here."""
    needed: dict[str, NeededFile] = {}
    faults: dict[str, str] = {}
    for part, group, spec in _parts(board):
        found, fault = _looked_up(group, spec)
        if fault:
            faults.setdefault(part, fault)
        for one in found:
            known = needed.get(one.file.place)
            parts = (*(known.parts if known else ()), part)
            needed[one.file.place] = NeededFile(one.file, one.found, tuple(dict.fromkeys(parts)))
    return list(needed.values()), faults


def runnable_rows(board: Board, needed: Sequence[NeededFile], faulty: Iterable[str] = ()) -> list[str]:
    """Return the rows that can be run with the files on this machine; none without images or classifier.

    Args:
        board: the board.
        needed: the files that it needs.
        faulty: parts that cannot be made.
    """
    lacking = {part for one in needed if one.found is None for part in one.parts} | set(faulty)
    if lacking & {IMAGES, CLASSIFIER}:
        return []
    return [row.name for row in board.shown if row.name not in lacking]


def _parts(board: Board) -> Iterator[tuple[str, str, Spec]]:
    """Yield (part, group of the registry, spec) of everything that may look up a file."""
    yield IMAGES, "datasets", board.dataset.use
    yield CLASSIFIER, "classifiers", board.classifier
    for row in (*board.defenses, *board.controls):
        yield row.name, "defenses", row.use
        yield from ((row.name, group, inner) for group, inner in _within(row.use.params))
    for attack in board.attacks:
        for spec in (attack.use, Spec.parse(attack.gradient)):
            yield from ((attack.name, group, inner) for group, inner in _within(spec.params))


def _within(value: Any) -> Iterator[tuple[str, Spec]]:
    """Yield the defenses and classifiers that are named within parameters, at any depth."""
    spec = None
    if isinstance(value, str) or (isinstance(value, Mapping) and len(value) == 1):
        with suppress(PurebenchError):
            spec = Spec.parse(value)
    if spec is not None:
        for group in ("defenses", "classifiers"):
            if spec.path is not None or registry.registered(group, spec.name)[1] is not None:
                yield group, spec
        yield from _within(spec.params)
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _within(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _within(inner)


def _looked_up(group: str, spec: Spec) -> tuple[list[LookedUp], str]:
    """Return the files that a factory looks up first, and a fault of the spec; empty for none.

    An error that the factory itself raises is no fault if it gets the board's classifier, which is not loaded here.
    """
    from torch import nn

    told: tuple[Missing, ...] = ()
    fault = ""
    with listing() as found, suppress(Inapplicable):
        try:
            registry.create(group, spec, classifier=nn.Identity())
        except MissingFiles as error:
            told = error.files
        except PurebenchError as error:
            fault = str(error) if _certain(group, spec) else ""
    places = {one.file.place for one in found}  # the factories of others raise MissingFiles for themselves
    return [*found, *(LookedUp(file, None) for file in told if file.place not in places)], fault


def _certain(group: str, spec: Spec) -> bool:
    """Return whether an error of a factory does not depend on the classifier that it gets."""
    try:
        make, given = registry.factory(group, spec.name)
    except PurebenchError:
        return True
    return "classifier" not in inspect.signature(make).parameters or "classifier" in {*given, *spec.params}
