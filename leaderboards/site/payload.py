"""The data of a board's page as plain JSON values: the board, its columns and its rows."""

from __future__ import annotations

from typing import Any

from purebench.boards.board import SOURCE, AttackChoice
from purebench.boards.replay import run_command
from purebench.core.registry import Spec
from purebench.leaderboards.badge_text import shown_badge
from purebench.leaderboards.evidence.grade_text import UPPER_BOUND
from purebench.leaderboards.notes import METHOD_NAMES, compared_text, methods_text, stopped_text, threat_text
from purebench.leaderboards.site.cards import UNKNOWN, Catalogue, slug
from purebench.leaderboards.site.pictures import BoardPictures, picture_folder
from purebench.leaderboards.site.source import BoardSource
from purebench.results.certificates import certificates
from purebench.results.figures.passes import passes_per_image
from purebench.results.figures.published_claims import PROTOCOL, PublishedClaim, claims_of
from purebench.results.ranking.rank import AttackScore, Row
from purebench.results.results import CLEAN
from purebench.statistics import Estimate

NO_PICTURES = BoardPictures()
DIGITS = 6
"""Decimal places of a fraction in the data, so that rounding it again to tenths of a point changes nothing."""


def board_payload(source: BoardSource, catalogue: Catalogue, pictures: BoardPictures = NO_PICTURES) -> dict[str, Any]:
    """Return the data of a board's page.

    Args:
        source: the board.
        catalogue: the cards of its defenses.
        pictures: the sources of the pictures of its rows.
    """
    board = source.board
    shown = shown_attacks(source)
    return {
        "name": board.name,
        "title": board.title,
        "threat": threat_text(board),
        "images": board.dataset.images,
        "confidence": board.confidence,
        "draws": [board.draws, board.fresh],
        "cascade": board.cascade,
        "anytime": any(row.result.anytime for row in source.rows),
        "upper_bound": UPPER_BOUND,
        "claimed": PROTOCOL,
        "notes": [told for told in _notes(source) if told],
        "ranks_text": source.ranks_text,
        "methods": METHOD_NAMES,
        "attacks": [
            {
                "name": one.name,
                "spec": str(one.use),
                "gradient": one.gradient,
                "eot": one.eot,
                "rows": list(one.rows),
            }
            for one in shown
        ],
        "rows": [row_payload(source, row, shown, catalogue, pictures) for row in source.rows],
        "block": board.dataset.block,
        "clean": "" if pictures.clean is None else f"../{picture_folder(board.name)}/",
        "reproduce": run_command(board),
    }


def shown_attacks(source: BoardSource) -> list[AttackChoice]:
    """Return the attacks that have a column: neither clean images, nor certificates, nor those run for images only."""
    proofs = {found.attack for row in source.rows if (found := certificates(row.result)) is not None}
    hidden = {CLEAN, *proofs}
    return [one for one in source.board.attacks if one.name not in hidden and one.only != SOURCE]


def row_payload(
    source: BoardSource,
    row: Row,
    shown: list[AttackChoice],
    catalogue: Catalogue,
    pictures: BoardPictures = NO_PICTURES,
) -> dict[str, Any]:
    """Return the data of one row.

    Args:
        source: the board of the row.
        row: the row.
        shown: the attacks that have a column.
        catalogue: the cards of the defenses.
        pictures: the sources of the pictures of the board's rows.
    """
    card = catalogue.card(source.board.name, row)
    cells = {cell.attack: cell for cell in row.cells}
    grade = row.grade
    return {
        "name": row.name,
        "page": f"../defenses/{slug(catalogue.key(row))}.html",
        "data": f"../data/{slug(source.board.name)}/{slug(row.name)}.js",
        "pictures": f"../{picture_folder(source.board.name, row.name)}/" if row.name in pictures.bundles else "",
        "rank": row.rank,
        "ranks": None if row.ranks is None else [row.ranks.low, row.ranks.high],
        "compared": None if row.ranks is None else row.ranks.images,
        "letters": "" if row.ranks is None else row.ranks.letters,
        "best": None if row.ranks is None else round(row.ranks.best, DIGITS),
        "robust": ends(row.robust if row.rank else None),
        "method": row.robust.method if row.robust else "",
        "clean": ends(row.clean),
        "certified": ends(row.certified),
        "best_known": ends(row.best_known),
        "claimed": [_claimed(one) for one in claims_of(row.result)] or None,
        "bounds": None if row.bounds is None else [round(one.value, DIGITS) for one in row.bounds],
        "reason": row.reason,
        "errored": row.errored,
        "images": len(row.result.images),
        "complete": row.result.complete,
        "strongest": row.strongest or "",
        "random": row.random,
        "grade": None if grade is None else str(grade.letter),
        "parts": [] if grade is None else [[part.name, str(part.letter)] for part in grade.parts],
        "why": [] if grade is None else list(dict.fromkeys(one.short for one in grade.deciding)),
        "warnings": [[str(one.code), one.sentence] for one in row.warnings],
        "attacks": [_cell(cells.get(one.name)) for one in shown],
        "spec": row.spec,
        "family": card.family or UNKNOWN,
        "gradient": card.gradient or UNKNOWN,
        "extra": card.extra_data or UNKNOWN,
        "licence": card.licence or UNKNOWN,
        "year": card.year or UNKNOWN,
        "venue": card.venue,
        "paper": card.title or card.paper,
        "verified": str(source.badges[row.name].badge),
        "badge": shown_badge(row.name, source.badges),
        "parameters": row.result.parameters,
        "ms": None if row.cost.draw_ms is None else float(f"{row.cost.draw_ms:.4g}"),
        "passes": float(f"{passes_per_image(row.result).total:.4g}"),
        "device": str(row.result.provenance.get("device", "")),
        "version": version_of(row),
        "command": run_command(source.board, Spec(row.result.spec["name"], row.result.spec.get("params", {}))),
    }


def ends(estimate: Estimate | None) -> list[float] | None:
    """Return an estimate as its value, low end, high end and number of images; None without one."""
    if estimate is None:
        return None
    return [*(round(one, DIGITS) for one in (estimate.value, estimate.low, estimate.high)), int(estimate.n)]


def _claimed(one: PublishedClaim) -> dict[str, Any]:
    """Return a claim about a row, with its source."""
    about = one.claim.model_dump(include={"robust", "clean", "norm", "radius", "images"})
    return about | one.source.model_dump(include={"attack", "cited", "url", "read"})


def version_of(row: Row) -> str:
    """Return the version of purebench that computed a row; "" where it is not known."""
    versions = row.result.provenance.get("versions", {})
    return str(versions.get("purebench", "")) if isinstance(versions, dict) else ""


def _cell(cell: AttackScore | None) -> list[float] | str:
    """Return the accuracy under an attack with ends, images, errored and spared images; or why there is none."""
    if cell is None or (cell.estimate is None and not cell.exhausted):
        return "n/a"
    if cell.exhausted:
        return "broken earlier"
    if cell.failed:
        return "errored"
    found = ends(cell.estimate)
    assert found is not None
    return [*found, cell.errored, cell.spared]


def _notes(source: BoardSource) -> list[str]:
    rows = source.rows
    methods = methods_text(rows)
    told = f"{100 * source.board.confidence:g} % intervals: {methods}" if methods else ""
    return [told, compared_text(list(rows)), source.ranks_text, stopped_text(source.board, list(rows))]
