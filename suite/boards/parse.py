"""Parses a board.yaml strictly: an unknown key is an error that names the nearest known one (see `boards.schema`)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from purebench.boards.board import SOURCE, AttackChoice, Board, DatasetChoice, DefenseChoice, Source, Stop
from purebench.boards.files.local_paths import beside
from purebench.boards.schema import CURE, MOST_JOBS, AttackSchema, BoardSchema
from purebench.boards.schema import SCHEMA as SCHEMA
from purebench.boards.schema_fields import NAME as NAME
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.files.names import check_file_name, check_file_names
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import MEBIBYTE, read_text, shown
from purebench.core.files.versioned_model import from_plain, require_version
from purebench.core.registry import Spec, factory, names


def load_board(path: Path) -> Board:
    """Read a board.yaml; the Python files that it names are looked for beside it first (see `files.local_paths`).

    Raises:
        PurebenchError: If the file cannot be read or is not a valid board; the message gives file, place and cure.
    """
    try:
        text = read_text(path, MEBIBYTE)
    except PurebenchError as error:
        raise PurebenchError(f"{error} Pass the path of a board.yaml.") from error
    try:
        board = parse_board(load_yaml(text))
        _check_rows(board)
        return beside(board, path.parent)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error


def parse_board(data: Any) -> Board:
    """Return a board from plain values.

    Raises:
        PurebenchError: If a key is unknown, missing or has a wrong type or value; the message names it.
    """
    if isinstance(data, dict) and "schema" in data:
        require_version(data, SCHEMA, CURE)
    found = from_plain(BoardSchema, data, "board")
    views = names("views")
    chosen = tuple(_attack(name, attack, views) for name, attack in found.attacks.items())
    _check_sources(chosen, set(found.defenses))
    _check_different(chosen)
    check_file_name(found.name, "name")
    check_file_names(found.defenses, "defenses")
    check_file_names(found.controls, "controls")
    _check_controls(found)
    sources = _only_sources(found.only_sources, chosen)
    rows = len(found.defenses) + len(found.controls)
    jobs = found.blocks * (len(found.attacks) + 1) * rows  # + 1 for the worst-case job
    if jobs > MOST_JOBS:
        raise PurebenchError(
            f"dataset.block: expected at most {MOST_JOBS:,} jobs (blocks × (attacks + 1) × rows), but got "
            f"{jobs:,}; use larger blocks."
        )
    return Board(
        name=found.name,
        title=found.title if "title" in found.model_fields_set else found.name,
        about=found.about,
        dataset=DatasetChoice(found.dataset.use, found.dataset.images, found.dataset.block, found.dataset.seed),
        classifier=found.classifier,
        threat=found.threat.model,
        attacks=chosen,
        defenses=tuple(DefenseChoice(name, use, name in sources) for name, use in found.defenses.items()),
        draws=found.verify.draws,
        fresh=found.verify.fresh,
        confidence=found.confidence,
        seed=found.seed,
        cascade=found.cascade,
        attack_precision=found.attack_precision,
        channels_last=found.channels_last,
        compile=found.compile,
        stop=_stop(found),
        controls=tuple(DefenseChoice(name, use) for name, use in found.controls.items()),
        radius_text=str(found.threat.radius),
        effort=found.effort,
    )


def _check_controls(found: BoardSchema) -> None:
    """Raise PurebenchError for a control with the name of a row, whose images attacks may reuse, or of equal content.

    Controls are counted by the share that is recovered, so that copies of an easy one would raise the share.
    """
    names: dict[str, str] = {}
    for name, use in found.controls.items():
        if (other := names.setdefault(str(use), name)) != name:
            raise PurebenchError(
                f"controls.{name}: expected a control that differs from controls.{other}, but both "
                f"are {use}; remove one."
            )
        if name in found.defenses:
            raise PurebenchError(
                f"controls.{name}: expected a name that is not one of the board's rows, but {name} is a row; choose "
                f"another name, such as known-{name}."
            )


def _stop(found: BoardSchema) -> Stop | None:
    """Return when a run may end early. Raises PurebenchError for a rule that could never be evaluated."""
    if (stop := found.stop) is None:
        return None
    if stop.max_images is not None and stop.max_images < found.dataset.block:
        raise PurebenchError(
            f"stop.max_images: expected a whole number of at least {found.dataset.block}, one block, but got "
            f"{stop.max_images}."
        )
    return Stop(stop.half_width, stop.decided, stop.max_images)


def _attack(name: str, found: AttackSchema, views: Sequence[str]) -> AttackChoice:
    view = Spec.parse(found.gradient).name
    if view not in views:
        raise PurebenchError(f"attacks.{name}.gradient: {shown(view)} is unknown; {did_you_mean(view[:100], views)}")
    source = None if found.source is None else Source(found.source.defense, found.source.attack)
    rows = tuple(found.rows or ())
    return AttackChoice(
        name, found.use, found.gradient, found.eot, found.only, source, found.counters, found.spare, rows
    )


def _check_sources(attacks: Sequence[AttackChoice], defenses: Set[str]) -> None:
    """Check that sources are on the board, above the attack, and have no source. Raises PurebenchError otherwise."""
    above: dict[str, AttackChoice] = {}
    for attack in attacks:
        if (source := attack.source) is not None:
            where = f"attacks.{attack.name}.source"
            if source.defense not in defenses:
                near = did_you_mean(source.defense, defenses)
                raise PurebenchError(f"{where}.defense: {shown(source.defense)} is unknown; {near}")
            if source.attack not in above:
                near = did_you_mean(source.attack, above)
                raise PurebenchError(
                    f"{where}.attack: expected an attack listed above {attack.name}, but got "
                    f"{shown(source.attack)}; {near}"
                )
            if above[source.attack].source is not None:
                raise PurebenchError(
                    f"{where}.attack: expected an attack without a source, but {source.attack} has a source; "
                    "choose another attack."
                )
        above[attack.name] = attack
    reused = {attack.source.attack for attack in attacks if attack.source is not None}
    for attack in attacks:
        if attack.only == SOURCE and attack.name not in reused:
            raise PurebenchError(
                f"attacks.{attack.name}.only: expected another attack that reuses the images of this one, but "
                f"there is none; add one with source: {{defense: …, attack: {attack.name}}}, or remove only: "
                f"{SOURCE}."
            )


def _check_rows(board: Board) -> None:
    """Raise PurebenchError if an attack is bespoke to a row that the file lacks, or provides images for other rows.

    A board that is derived from a file may lack these rows, so this is checked for files only.
    """
    names = [defense.name for defense in board.defenses]
    for attack in board.attacks:
        for row in attack.rows:
            if row not in names:
                near = did_you_mean(row[:100], names)
                raise PurebenchError(f"attacks.{attack.name}.rows: {shown(row)} is unknown; {near}")
    bespoke = {attack.name: attack.rows for attack in board.attacks if attack.rows}
    for attack in board.attacks:
        if attack.source is not None and attack.source.defense not in bespoke.get(attack.source.attack, names):
            raise PurebenchError(
                f"attacks.{attack.name}.source: expected an attack that runs on {attack.source.defense}, but "
                f"{attack.source.attack} is bespoke to {', '.join(bespoke[attack.source.attack])}; choose another."
            )


def _check_different(attacks: Sequence[AttackChoice]) -> None:
    """Raise PurebenchError if two attacks differ only in their names, which would give equal results."""
    for place, attack in enumerate(attacks):
        for other in attacks[:place]:
            apart = {attack.only, other.only} == {"random", "deterministic"}  # no defense is attacked by both
            if not apart and attack.same_as(other):
                name = attack.use.name
                repeat = "to repeat an attack, run the board with another seed"
                cure = f"for restarts, use the parameter: {name}(restarts=2)" if _has_restarts(name) else repeat
                raise PurebenchError(
                    f"attacks.{attack.name}: expected an attack that differs from attacks.{other.name} in use, "
                    f"gradient, eot or source, but they are equal; remove one ({cure})."
                )


def _has_restarts(name: str) -> bool:
    if Spec(name).path is not None:  # reading a board runs no file that it names
        return False
    try:
        return "restarts" in inspect.signature(factory("attacks", name)[0]).parameters
    except (PurebenchError, TypeError, ValueError):
        return False  # the name cannot be created, which is reported before a run


def _only_sources(value: Sequence[Any], attacks: Sequence[AttackChoice]) -> Sequence[str]:
    """Return the names of rows that only provide images. Raises PurebenchError for a row that no attack reuses."""
    reused = [attack.source.defense for attack in attacks if attack.source is not None]
    for name in value:
        if name not in reused:
            near = did_you_mean(str(name)[:100], reused)
            raise PurebenchError(
                "only_sources: expected defenses whose adversarial images an attack reuses, but got "
                f"{shown(name)}; {near}"
            )
    return value
