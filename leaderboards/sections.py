"""Builds a defense's section of the page: its attacks, curve and pictures, and the command that repeats it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from purebench.boards.replay import run_command
from purebench.core.registry import Spec
from purebench.core.warning_codes import WarningCode
from purebench.leaderboards.charts.curves import Chart, Scale, single
from purebench.leaderboards.charts.draws import DrawChart, Noise, draw_chart, loss, noise
from purebench.leaderboards.evidence.ladder_chart import ladder_chart
from purebench.leaderboards.figures_text import known, passes_text, printed
from purebench.records.outcome import Outcome
from purebench.records.record import Picture
from purebench.results.attack_claims import AttackClaim, attack_claim
from purebench.results.attack_result import AttackResult
from purebench.results.certificates import Certificates
from purebench.results.distances import NearestDistances, distance_text, reach
from purebench.results.figures.as_printed import PrintedFigures
from purebench.results.figures.cost import Cost, cost
from purebench.results.figures.known_randomness import KnownRandomnessFigures
from purebench.results.figures.passes import passes_per_image
from purebench.results.figures.published_claims import PublishedClaim, claims_of
from purebench.results.grading.evidence import Convergence
from purebench.results.grading.optimality import Optimality, optimality
from purebench.results.ranking.rank import AttackScore, Row
from purebench.results.results import CLEAN, spec_text
from purebench.statistics import Estimate, median_with_ends

if TYPE_CHECKING:
    from purebench.boards.board import Board

TRIPLES = 4


@dataclass(frozen=True)
class Triple:
    """Three pictures of one image: original, attacked, and purified again.

    Attributes:
        picture: The attacked and the purified image.
        original: The original, None if it is not available.
        true: Name of the true class.
        predicted: Name of the predicted class.
        fooled: Whether the attack succeeded.
    """

    picture: Picture
    original: str | None
    true: str
    predicted: str
    fooled: bool


@dataclass(frozen=True)
class Line:
    """One attack in a defense's section.

    Attributes:
        result: Its result.
        spec: The attack, as in a board.yaml.
        source: The defense or attack whose adversarial images it reuses, empty for none.
        cell: Its cell in the ranked table.
        cost: Its cost.
        distance: The median under the threat, or that of the nearest images of a minimum-norm attack.
        found: For a minimum-norm attack, how many nearest images there are; "" for others.
        counts: (style, label, images) of each outcome.
        own: The attack's own verdict.
        remarks: (kind, text) of other information (errors are in the row).
        passes: Its cost in purifier passes per image, as text.
    """

    result: AttackResult
    spec: str
    source: str
    cell: AttackScore
    cost: Cost
    distance: str
    found: str
    counts: tuple[tuple[str, str, int], ...]
    own: AttackClaim | None
    remarks: tuple[tuple[str, str], ...]
    passes: str


@dataclass(frozen=True)
class Section:
    """A defense's section.

    Attributes:
        row: Its row.
        anchor: Anchor of the section in links.
        lines: Its attacks.
        judged: Whether some attack has its own verdict.
        nearest: Nearest adversarial images, None without a minimum-norm attack.
        proven: Certificates, None if there are none.
        chart: Security curve, None without nearest images and certificates.
        pictured: The attack of the pictures, None if there are none.
        triples: The pictures.
        command: The command line that repeats the evaluation.
        median: The median distance and its interval, as text.
        loss: Accuracy lost to the attacks, in [-1,1]; None where it is not known.
        asked: Accuracy under repeated queries and votes; None where it is not known.
        noise: Sources of its noise; None where they are not known.
        known: Accuracy under known randomness, of each attack that has it.
        printed: Figures of papers, of each attack whose looks were counted.
        passes: Cost of the row in purifier passes per image, as text.
        evaluations: Gradient evaluations of the row per image, as text.
        optimal: The optimality of its attacks, by attack; empty where it is not known.
        convergence: Whether more effort would lower its accuracy; None without a ladder.
        ladder: Accuracy against effort; None without a ladder.
        claims: What others claim for it.
    """

    row: Row
    anchor: str
    lines: tuple[Line, ...]
    judged: bool
    nearest: NearestDistances | None
    proven: Certificates | None
    chart: Chart | None
    pictured: str | None
    triples: tuple[Triple, ...]
    command: str
    median: str
    loss: Estimate | None
    asked: DrawChart | None
    noise: Noise | None
    known: tuple[KnownRandomnessFigures, ...]
    printed: tuple[PrintedFigures, ...]
    passes: str
    evaluations: str
    optimal: Mapping[str, Optimality]
    convergence: Convergence | None
    ladder: DrawChart | None
    claims: tuple[PublishedClaim, ...]


def section(
    board: Board,
    row: Row,
    anchor: str,
    found: NearestDistances | None,
    proven: Certificates | None,
    scale: Scale,
    classes: Sequence[str],
    originals: Mapping[int, str],
    convergence: Convergence | None = None,
) -> Section:
    """Build the section of a row.

    Args:
        board: The board.
        row: The row.
        anchor: Anchor of the section.
        found: Its nearest adversarial images.
        proven: Its certificates.
        scale: Scale of the curves.
        classes: Names of the classes.
        originals: Base64 PNG of clean images by their position in the data set.
        convergence: Whether more effort would lower its accuracy; None without a ladder.

    Returns:
        The section.
    """
    pictured = _pictured(row)
    pictures = pictured.pictures[:TRIPLES] if pictured else ()
    lines = tuple(
        _line(board, attack, cell, row.random) for attack, cell in zip(row.result.attacks, row.cells, strict=True)
    )
    return Section(
        row=row,
        anchor=anchor,
        lines=lines,
        judged=any(line.own is not None for line in lines),
        nearest=found,
        proven=proven,
        chart=single(anchor, row.name, found, board.confidence, scale, proven),
        pictured=pictured.name if pictured else None,
        triples=tuple(_triple(picture, classes, originals) for picture in pictures),
        command=run_command(board, Spec(row.result.spec["name"], row.result.spec.get("params", {}))),
        median="" if found is None else _median(board, found),
        loss=None if row.result.failed else loss(row.result),
        asked=None if row.result.failed else draw_chart(anchor, row.result),
        noise=None if row.result.failed else noise(row.result),
        known=known(row.result),
        printed=printed(row.result),
        passes=passes_text(passes_per_image(row.result).total),
        optimal={one.attack: one for one in optimality(row.result)},
        convergence=convergence,
        ladder=None if convergence is None else ladder_chart(anchor, row.name, convergence),
        evaluations=passes_text(row.cost.backwards / len(row.result.images)),
        claims=claims_of(row.result),
    )


def _median(board: Board, found: NearestDistances) -> str:
    """Return the median distance and its interval: "8.7/255 [6.1/255, ∞]"."""
    norm, median = board.threat.norm, median_with_ends(found.distances, board.confidence, anytime=found.anytime)
    low, high = distance_text(norm, median.low), distance_text(norm, median.high)
    return f"{distance_text(norm, median.value)} [{low}, {high}]"


def anchors(names: Sequence[str]) -> dict[str, str]:
    """Return an id for each name that is safe in a link; names that a board.yaml allows are unchanged."""
    found: dict[str, str] = {}
    for name in names:
        plain = "defense-" + re.sub(r"[^A-Za-z0-9._+-]", "-", name)
        while plain in found.values():
            plain += "-"
        found[name] = plain
    return found


def _pictured(row: Row) -> AttackResult | None:
    """Return the attack whose pictures are shown: the strongest, else one that has some, the clean one last."""
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


def _line(board: Board, attack: AttackResult, cell: AttackScore, random: bool) -> Line:
    norm, own, found = board.threat.norm, attack_claim(attack), reach(attack)
    distance = attack.median_distance
    if found is not None:
        median = distance_text(norm, found.median)
    else:
        median = "" if distance is None else distance_text(norm, distance)
    counts = [(outcome.value, outcome.value, attack.count(outcome)) for outcome in Outcome]
    counts[-1] = ("skipped", "not attacked", counts[-1][2] - cell.spared)
    counts.append(("spared", "broken earlier", cell.spared))
    return Line(
        result=attack,
        spec=spec_text(attack.spec),
        source=f"images of {attack.source['defense']} · {attack.source['attack']}" if attack.source else "",
        cell=cell,
        cost=cost([attack], random=random),
        distance=median,
        found="" if found is None else f"found for {found.found} of {found.asked}",
        counts=tuple(counts),
        own=own,
        remarks=tuple(_remarks(attack, own, board.cascade)),
        passes=passes_text(attack.purifier_passes),
    )


def _remarks(attack: AttackResult, own: AttackClaim | None, cascade: bool) -> Iterator[tuple[str, str]]:
    yield from (("skipped", reason) for reason in attack.skips)
    if own is not None and own.remark:
        yield "verdict", own.remark
    # the warning that a cascade makes accuracies conditional is shown once, for all attacks
    shown = (one for one in attack.warnings if not (cascade and one.code is WarningCode.CONDITIONAL))
    yield from (("warning", str(one)) for one in shown)
    yield from (("", note) for note in attack.notes)
