"""board.yaml → a board, strictly: an unknown key is an error that names the nearest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from purebench.board import FOR, PRECISIONS, SOURCE, AttackChoice, Board, DatasetChoice, DefenseChoice, Source, Stop
from purebench.errors import PurebenchError, nearest
from purebench.registry import Spec, names
from purebench.threat import ThreatModel, parse_radius

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What names of attacks and defenses look like."""


def load_board(path: Path) -> Board:
    """Reads a board.yaml. Raises PurebenchError naming the file, the place and the cure."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PurebenchError(f"{path}: expected a board.yaml, but it cannot be read ({error}).") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PurebenchError(f"{path}: expected YAML, but " + " ".join(str(error).split())) from error
    try:
        return parse_board(data)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error


def parse_board(data: Any) -> Board:
    """A board from plain values; an unknown, missing or mistyped key is an error that names it."""
    top = _mapping(data, "board", Board, extra={"verify", "only_sources"}, without={"draws", "radius_text"})
    threat = _mapping(top.get("threat"), "threat", ThreatModel)
    _need(threat, "threat", "norm", "radius")
    verify = _known(top.get("verify", {}), "verify", {"draws"})
    _need(top, "board", "name", "dataset", "classifier", "threat", "attacks", "defenses")
    if not isinstance(top["name"], str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*(@[0-9.e+-]+)?", top["name"]):
        raise PurebenchError(f"name: expected small letters, digits and dashes, but got {top['name']!r}.")
    attacks = _named(top["attacks"], "attacks")
    defenses = _named(top["defenses"], "defenses")
    confidence = top.get("confidence", 0.95)
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise PurebenchError(f"confidence: expected a number between 0 and 1, such as 0.95, but got {confidence!r}.")
    precision = top.get("attack_precision", "float32")
    if precision not in PRECISIONS:
        raise PurebenchError(f"attack_precision: {precision!r} is unknown; {nearest(str(precision), PRECISIONS)}")
    cascade = top.get("cascade", False)
    if not isinstance(cascade, bool):
        raise PurebenchError(f"cascade: expected true or false, but got {cascade!r}.")
    chosen = tuple(_attack(name, value) for name, value in attacks.items())
    _check_sources(chosen, set(defenses))
    sources = _only_sources(top.get("only_sources", []), chosen)
    return Board(
        name=top["name"],
        title=str(top.get("title", top["name"])),
        about=str(top.get("about", "")),
        dataset=_dataset(top["dataset"]),
        classifier=_spec(top["classifier"], "classifier"),
        threat=ThreatModel(str(threat["norm"]), parse_radius(threat["radius"])),
        attacks=chosen,
        defenses=tuple(
            DefenseChoice(name, _spec(value, f"defenses.{name}"), name in sources) for name, value in defenses.items()
        ),
        draws=_whole(verify.get("draws", 16), "verify.draws", 1),
        confidence=confidence,
        seed=_whole(top.get("seed", 0), "seed", 0),
        cascade=cascade,
        attack_precision=precision,
        stop=_stop(top["stop"], _whole(top["dataset"].get("block"), "dataset.block", 1)) if "stop" in top else None,
        radius_text=str(threat["radius"]),
    )


def _stop(value: Any, block: int) -> Stop:
    """When a run may end early. Raises PurebenchError for a rule that says nothing, or can never be looked at."""
    data = _mapping(value, "stop", Stop)
    half_width, told_apart, most = data.get("half_width"), data.get("decided", False), data.get("max_images")
    if half_width is not None and not (isinstance(half_width, float) and 0 < half_width < 0.5):
        raise PurebenchError(
            f"stop.half_width: expected a number in (0, 0.5), such as 0.02 for two points, but got {half_width!r}."
        )
    if not isinstance(told_apart, bool):
        raise PurebenchError(f"stop.decided: expected true or false, but got {told_apart!r}.")
    if not data:
        raise PurebenchError("stop: expected half_width, decided or max_images, but got none; leave the key out.")
    return Stop(half_width, told_apart, None if most is None else _whole(most, "stop.max_images", block))


def _dataset(value: Any) -> DatasetChoice:
    data = _mapping(value, "dataset", DatasetChoice)
    _need(data, "dataset", "use", "images", "block")
    return DatasetChoice(
        _spec(data["use"], "dataset.use"),
        _whole(data["images"], "dataset.images", 1),
        _whole(data["block"], "dataset.block", 1),
        _whole(data.get("seed", 0), "dataset.seed", 0),
    )


def _attack(name: str, value: Any) -> AttackChoice:
    where = f"attacks.{name}"
    data = _mapping(value, where, AttackChoice, without={"name"})
    _need(data, where, "use")
    gradient, only = data.get("gradient", "none"), data.get("only", "all")
    view = _spec(gradient, f"{where}.gradient").name
    if view not in names("views"):
        raise PurebenchError(f"{where}.gradient: {view!r} is unknown; {nearest(view, names('views'))}")
    if only not in FOR:
        raise PurebenchError(f"{where}.only: {only!r} is unknown; {nearest(str(only), FOR)}")
    return AttackChoice(
        name,
        _spec(data["use"], f"{where}.use"),
        str(gradient),
        _whole(data.get("eot", 1), f"{where}.eot", 1),
        only,
        _source(data["source"], f"{where}.source") if "source" in data else None,
    )


def _source(value: Any, where: str) -> Source:
    data = _mapping(value, where, Source)
    _need(data, where, "defense", "attack")
    return Source(str(data["defense"]), str(data["attack"]))


def _check_sources(attacks: Sequence[AttackChoice], defenses: Set[str]) -> None:
    """Raises PurebenchError for a source that is not on the board, is not above it, or has a source of its own."""
    above: dict[str, AttackChoice] = {}
    for attack in attacks:
        if (source := attack.source) is not None:
            where = f"attacks.{attack.name}.source"
            if source.defense not in defenses:
                near = nearest(source.defense, defenses)
                raise PurebenchError(f"{where}.defense: {source.defense!r} is unknown; {near}")
            if source.attack not in above:
                near = nearest(source.attack, above)
                raise PurebenchError(f"{where}.attack: {source.attack!r} is no attack above {attack.name}; {near}")
            if above[source.attack].source is not None:
                raise PurebenchError(
                    f"{where}.attack: expected an attack without a source, but {source.attack} has one."
                )
        above[attack.name] = attack
    reused = {attack.source.attack for attack in attacks if attack.source is not None}
    for attack in attacks:
        if attack.only == SOURCE and attack.name not in reused:
            raise PurebenchError(
                f"attacks.{attack.name}.only: expected an attack that reuses its images, but there is none; "
                f"add one with source: {{defense: …, attack: {attack.name}}}, or leave out only: {SOURCE}."
            )


def _only_sources(value: Any, attacks: Sequence[AttackChoice]) -> Sequence[str]:
    """The names of rows that are there only for their images. Raises PurebenchError for a row that no attack reuses."""
    if not isinstance(value, list):
        raise PurebenchError(f"only_sources: expected a list of defenses, but got {value!r}.")
    reused = [attack.source.defense for attack in attacks if attack.source is not None]
    for name in value:
        if name not in reused:
            raise PurebenchError(f"only_sources: no attack reuses images of {name!r}; {nearest(str(name), reused)}")
    return value


def _named(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise PurebenchError(f"{where}: expected a mapping of names, but got {value!r}.")
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PurebenchError(f"{where}: expected names of letters, digits and . _ + -, but got {name!r}.")
    return value


def _spec(value: Any, where: str) -> Spec:
    try:
        return Spec.parse(value)
    except PurebenchError as error:
        raise PurebenchError(f"{where}: {error}") from error


def _mapping(
    value: Any, where: str, kind: type, extra: Set[str] = frozenset(), without: Set[str] = frozenset()
) -> dict[str, Any]:
    return _known(value, where, {f.name for f in fields(kind)} - without | extra)


def _known(value: Any, where: str, known: Set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PurebenchError(f"{where}: expected a mapping with {', '.join(sorted(known))}, but got {value!r}.")
    for key in value:
        if key not in known:
            raise PurebenchError(f"{where}: the key {key!r} is unknown; {nearest(str(key), known)}")
    return value


def _need(data: Mapping[str, Any], where: str, *keys: str) -> None:
    for key in keys:
        if key not in data:
            raise PurebenchError(f"{where}: expected the key {key!r}, but it is missing.")


def _whole(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PurebenchError(f"{where}: expected a whole number of at least {least}, but got {value!r}.")
    return value
