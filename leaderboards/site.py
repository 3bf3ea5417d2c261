"""A board as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from purebench.leaderboards.export import write_files
from purebench.leaderboards.rank import Cell, Cost, Row, cost, rank
from purebench.leaderboards.results import CLEAN, AttackResult, DefenseResult, spec_text
from purebench.leaderboards.terminal import METHOD_NAMES, methods_text
from purebench.records import Outcome, Picture

if TYPE_CHECKING:
    from purebench.board import Board

TEMPLATES = Path(__file__).parent / "templates"
TRIPLES = 4
NORM_SIGNS = {"linf": "ℓ∞", "l2": "ℓ2"}
OUTCOMES = (Outcome.HELD, Outcome.BROKEN, Outcome.ERRORED)


@dataclass(frozen=True)
class Triple:
    """Three pictures of one image: original (None if it is not at hand), attacked, and purified again."""

    picture: Picture
    original: str | None
    true: str
    predicted: str
    fooled: bool


@dataclass(frozen=True)
class Line:
    """One attack in a defense's section: what was run, and its accuracy, cost, distance and outcomes."""

    result: AttackResult
    spec: str
    cell: Cell
    cost: Cost
    distance: str
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Section:
    """A defense's section: its row, the anchor it is linked by, its attacks, and pictures of one of them."""

    row: Row
    anchor: str
    lines: tuple[Line, ...]
    pictured: str | None
    triples: tuple[Triple, ...]
    command: str


def render(board: Board, results: Sequence[DefenseResult], classes: Sequence[str], originals: Mapping[int, str]) -> str:
    """The board's page.

    classes: the names of the classes. originals: base64 PNG of clean images by their position in the dataset,
    for the pictures in the results. Raises PurebenchError where `rank` does.
    """
    rows = rank(results)
    anchors = _anchors([row.name for row in rows])
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "bracket": _bracket, "duration": _duration, "share": _share}
    known = {row.name for row in rows}
    page = environment.get_template("board.html.j2").render(
        board=board,
        sections=[_section(board, row, anchors[row.name], classes, originals) for row in rows],
        attacks=[attack for attack in board.attacks if attack.name != CLEAN],
        waiting=[defense.name for defense in board.defenses if defense.name not in known],
        methods=methods_text(rows),
        method_names=METHOD_NAMES,
        threat=_threat(board),
        spec_text=lambda use: spec_text({"name": use.name, "params": use.params}),
        provenance=[(row.name, row.result.provenance) for row in rows],
        shared=rows[0].result.provenance if rows else {},
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own files, not data
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )
    return page.rstrip() + "\n"


def write_page(path: Path, html: str) -> None:
    """Writes the page, or raises PurebenchError and leaves what was there."""
    write_files({path: html})


def _section(board: Board, row: Row, anchor: str, classes: Sequence[str], originals: Mapping[int, str]) -> Section:
    pictured = _pictured(row)
    pictures = pictured.pictures[:TRIPLES] if pictured else ()
    attacks = zip(row.result.attacks, row.cells, strict=True)
    return Section(
        row=row,
        anchor=anchor,
        lines=tuple(_line(board, attack, cell) for attack, cell in attacks),
        pictured=pictured.name if pictured else None,
        triples=tuple(_triple(picture, classes, originals) for picture in pictures),
        command=f"purebench run {shlex.quote(board.name)} --defense {shlex.quote(row.spec)}",
    )


def _pictured(row: Row) -> AttackResult | None:
    """The attack whose pictures are shown: the strongest, else one that has some, the clean one last."""
    shown = [attack for attack in row.result.attacks if attack.pictures]
    return min(shown, key=lambda attack: (attack.name == CLEAN, attack.name != row.strongest), default=None)


def _triple(picture: Picture, classes: Sequence[str], originals: Mapping[int, str]) -> Triple:
    def named(label: int) -> str:
        return classes[label] if 0 <= label < len(classes) else f"class {label}"

    return Triple(
        picture,
        originals.get(picture.image),
        named(picture.label),
        named(picture.predicted),
        picture.label != picture.predicted,
    )


def _line(board: Board, attack: AttackResult, cell: Cell) -> Line:
    distance = attack.median_distance
    return Line(
        result=attack,
        spec=spec_text(attack.spec),
        cell=cell,
        cost=cost([attack]),
        distance="" if distance is None else _distance(board, distance),
        counts=tuple((outcome.value, attack.count(outcome)) for outcome in OUTCOMES),
    )


def _anchors(names: Sequence[str]) -> dict[str, str]:
    """An id for each name that is safe in a link; the names that a board.yaml allows stay as they are."""
    anchors: dict[str, str] = {}
    for name in names:
        plain = "defense-" + re.sub(r"[^A-Za-z0-9._+-]", "-", name)
        while plain in anchors.values():
            plain += "-"
        anchors[name] = plain
    return anchors


def _threat(board: Board) -> str:
    norm = NORM_SIGNS.get(board.threat.norm, board.threat.norm)
    return f"{norm} ≤ {board.radius_text or f'{board.threat.radius:g}'}"


def _distance(board: Board, distance: float) -> str:
    return f"{255 * distance:.1f}/255" if board.threat.norm == "linf" else f"{distance:.3f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _bracket(estimate: Any) -> str:
    """The interval of `Estimate.percent`: "[58.2, 64.4]"."""
    told = str(estimate.percent())
    return told[told.index("[") :]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%"


def _duration(seconds: float) -> str:
    """A time as people say it: 8.3 s, 12 min, 3.4 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
