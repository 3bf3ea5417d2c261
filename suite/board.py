"""board.yaml ↔ frozen dataclasses, strictly: an unknown key is an error that names the nearest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from purebench.errors import PurebenchError, nearest
from purebench.registry import Spec, names
from purebench.threat import ThreatModel, parse_radius

FOR = ("all", "deterministic", "random")


@dataclass(frozen=True)
class DatasetChoice:
    """Which images: a registered dataset, the first `images` of it, in blocks of `block`, in an order set by `seed`."""

    use: Spec
    images: int
    block: int
    seed: int = 0


@dataclass(frozen=True)
class AttackChoice:
    """An attack of a board: a registered attack under a view.

    gradient: a registered view (exact, bpda, blind, or none for attacks that need no gradient); eot: draws that a
    gradient or score averages over, used on random defenses only; only: all, deterministic or random defenses.
    """

    name: str
    use: Spec
    gradient: str = "none"
    eot: int = 1
    only: str = "all"


@dataclass(frozen=True)
class DefenseChoice:
    """A defense of a board: a registered purifier or defense under the name it has there."""

    name: str
    use: Spec


@dataclass(frozen=True)
class Board:
    """A leaderboard: images, classifier, threat, attacks, defenses, and how answers are verified.

    draws: verification draws of a random defense, each image; confidence: of every interval; seed: of everything.
    """

    name: str
    title: str
    about: str
    dataset: DatasetChoice
    classifier: Spec
    threat: ThreatModel
    attacks: tuple[AttackChoice, ...]
    defenses: tuple[DefenseChoice, ...]
    draws: int = 16
    confidence: float = 0.95
    seed: int = 0
    radius_text: str = field(default="", compare=False)

    @property
    def blocks(self) -> int:
        """How many blocks the images fall into."""
        return -(-self.dataset.images // self.dataset.block)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the form of a board.yaml: `parse_board` gives the same board back."""
        return {
            "name": self.name,
            "title": self.title,
            "about": self.about,
            "dataset": {**asdict(self.dataset), "use": self.dataset.use.plain()},
            "classifier": self.classifier.plain(),
            "threat": {"norm": self.threat.norm, "radius": self.radius_text or self.threat.radius},
            "verify": {"draws": self.draws},
            "confidence": self.confidence,
            "seed": self.seed,
            "attacks": {
                attack.name: {
                    "use": attack.use.plain(),
                    "gradient": attack.gradient,
                    "eot": attack.eot,
                    "only": attack.only,
                }
                for attack in self.attacks
            },
            "defenses": {defense.name: defense.use.plain() for defense in self.defenses},
        }


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
    top = _mapping(data, "board", Board, extra={"verify"}, without={"draws", "radius_text"})
    threat = _mapping(top.get("threat"), "threat", ThreatModel)
    _need(threat, "threat", "norm", "radius")
    verify = _known(top.get("verify", {}), "verify", {"draws"})
    _need(top, "board", "name", "dataset", "classifier", "threat", "attacks", "defenses")
    if not isinstance(top["name"], str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", top["name"]):
        raise PurebenchError(f"name: expected small letters, digits and dashes, but got {top['name']!r}.")
    attacks = _named(top["attacks"], "attacks")
    defenses = _named(top["defenses"], "defenses")
    confidence = top.get("confidence", 0.95)
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise PurebenchError(f"confidence: expected a number between 0 and 1, such as 0.95, but got {confidence!r}.")
    return Board(
        name=top["name"],
        title=str(top.get("title", top["name"])),
        about=str(top.get("about", "")),
        dataset=_dataset(top["dataset"]),
        classifier=_spec(top["classifier"], "classifier"),
        threat=ThreatModel(str(threat["norm"]), parse_radius(threat["radius"])),
        attacks=tuple(_attack(name, value) for name, value in attacks.items()),
        defenses=tuple(DefenseChoice(name, _spec(value, f"defenses.{name}")) for name, value in defenses.items()),
        draws=_whole(verify.get("draws", 16), "verify.draws", 1),
        confidence=confidence,
        seed=_whole(top.get("seed", 0), "seed", 0),
        radius_text=str(threat["radius"]),
    )


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
    if gradient not in names("views"):
        raise PurebenchError(f"{where}.gradient: {gradient!r} is unknown; {nearest(str(gradient), names('views'))}")
    if only not in FOR:
        raise PurebenchError(f"{where}.only: {only!r} is unknown; {nearest(str(only), FOR)}")
    return AttackChoice(
        name,
        _spec(data["use"], f"{where}.use"),
        gradient,
        _whole(data.get("eot", 1), f"{where}.eot", 1),
        only,
    )


def _named(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise PurebenchError(f"{where}: expected a mapping of names, but got {value!r}.")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
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
