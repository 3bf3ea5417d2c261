"""Renders a board as one self-contained HTML file: it needs no network and no other files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from purebench.boards.board import SOURCE
from purebench.core.files.text import duration
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.leaderboards.badge_text import shown_badge, verification_text
from purebench.leaderboards.charts.curves import overlaid, scale
from purebench.leaderboards.evidence.controls import control_rows, kinds_of, summary_text
from purebench.leaderboards.evidence.grade_text import UPPER_BOUND
from purebench.leaderboards.figures_text import MV, VOTE, looks_text, milliseconds_text, not_optimised_text
from purebench.leaderboards.notes import METHOD_NAMES, compared_text, methods_text, stopped_text
from purebench.leaderboards.sections import Section, anchors, section
from purebench.records.provenance import COMPILED
from purebench.results.certificates import certificates
from purebench.results.distances import nearest_distances
from purebench.results.figures.passes import MEANING
from purebench.results.figures.published_claims import PROTOCOL
from purebench.results.files.export import write_files
from purebench.results.files.verdicts import RowBadge
from purebench.results.grading.convergence import count_text
from purebench.results.grading.gathering import Companions, declared_controls, evidence_of
from purebench.results.grading.optimality import global_optimality
from purebench.results.ranking.rank import Row, rank
from purebench.results.results import CLEAN, DefenseResult, spec_text

if TYPE_CHECKING:
    from purebench.boards.board import Board

TEMPLATES = Path(__file__).parent / "templates"


def render(
    board: Board,
    results: Sequence[DefenseResult],
    classes: Sequence[str],
    originals: Mapping[int, str],
    left_out: Collection[str] = (),
    companions: Companions | None = None,
    badges: Mapping[str, RowBadge] | None = None,
) -> str:
    """Render the board's page.

    Args:
        board: The board.
        results: Results of its defenses.
        classes: Names of the classes.
        originals: Base64 PNG of clean images by their position in the data set, for the pictures in the results.
        left_out: Rows that were not run because their files are not on the machine.
        companions: Results of the boards derived from the board, such as its controls.
        badges: What is known about the reproduction of the rows (`load_badges`); rows without an entry are unverified.

    Returns:
        The HTML.

    Raises:
        PurebenchError: Where `rank` does.
    """
    evidence = evidence_of(results, companions, declared_controls(board))
    rows = rank(results, evidence, board.origin)
    ids = anchors([row.name for row in rows])
    # on a random defense, the minimum over attacks would be chosen on the draws that decide it
    distances = {row.name: None if row.random else nearest_distances(row.result) for row in rows}
    known = {name: found for name, found in distances.items() if found is not None}
    proofs = {row.name: certificates(row.result) for row in rows}
    proven = {name: proof for name, proof in proofs.items() if proof is not None}
    common = scale(board.threat, board.radius_text, [*known.values(), *proven.values()])
    environment = templates()
    environment.filters |= {
        "percent": _percent,
        "bracket": _bracket,
        "duration": duration,
        "milliseconds": milliseconds_text,
        "share": _share,
        "chance": _chance,
    }
    finished = {row.name for row in rows}
    controls = control_rows(evidence)
    sections = [
        section(
            board,
            row,
            ids[row.name],
            distances[row.name],
            proofs[row.name],
            common,
            classes,
            originals,
            evidence.convergence.get(row.name),
        )
        for row in rows
    ]
    no_attacks = {CLEAN, *(proof.attack for proof in proven.values())}
    page = environment.get_template("board.html.j2").render(
        board=board,
        sections=sections,
        certified=bool(proven),
        bespoke=[attack.name for attack in board.attacks if attack.rows],
        upper_bound=UPPER_BOUND,
        verified={row.name: shown_badge(row.name, badges) for row in rows},
        verification=verification_text(rows, badges or {}) if rows else "",
        curves=overlaid(known, board.confidence, common),
        curved=bool(known),
        anytime=any(row.result.anytime for row in rows),
        attacks=[one for one in board.attacks if one.name not in no_attacks and one.only != SOURCE],
        first=board.attacks[0].name,
        controls=controls,
        control_kinds=kinds_of([row.score for row in controls]),
        controls_summary=summary_text(evidence),
        optimal=_optimal(sections),
        waiting=[defense.name for defense in board.shown if defense.name not in finished.union(left_out)],
        left_out=[defense.name for defense in board.shown if defense.name in left_out],
        methods=methods_text(rows),
        stopped=stopped_text(board, rows),
        compared=compared_text(rows),
        converged=count_text(evidence.convergence),
        method_names=METHOD_NAMES,
        threat=_threat(board),
        looks_text=looks_text,
        vote=VOTE,
        mv=MV,
        not_optimised_text=not_optimised_text,
        passes_meaning=MEANING,
        claimed=PROTOCOL if any(one.claims for one in sections) else "",
        spec_text=lambda use: spec_text({"name": use.name, "params": use.params}),
        compiled=_compiled(board, rows),
        provenance=[(row.name, _origin(row.result)) for row in rows],
        shared=_origin(rows[0].result) if rows else {},
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file, which needs no escaping
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )
    return page.rstrip() + "\n"


def templates() -> Environment:
    """Return the environment of our templates: values are escaped, and an undefined variable is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, html: str) -> None:
    """Write the page; if that fails, an existing file is left unchanged.

    Args:
        path: The file.
        html: The page.

    Raises:
        PurebenchError: If it cannot be written.
    """
    write_files({path: html})


def _optimal(sections: Sequence[Section]) -> str:
    """Return the global optimality of each attack in one sentence; "" where no row has one."""
    found = global_optimality([list(one.optimal.values()) for one in sections])
    told = ", ".join(f"{attack} {value:.2f}" for attack, value in found.items())
    return f"optimality of attacks, mean over rows (AttackBench): {told}" if told else ""


def _origin(result: DefenseResult) -> dict[str, Any]:
    """Return where a result was computed, without its code's hashes and the networks, which differ from row to row."""
    return {name: value for name, value in result.provenance.items() if name not in ("code", COMPILED)}


def _compiled(board: Board, rows: Sequence[Row]) -> str:
    """Return whose networks the attacks called compiled; empty if the board asks for no compilation."""
    found = {row.name: ", ".join(row.result.provenance.get(COMPILED, ())) for row in rows}
    told = "; ".join(f"{name} ({networks})" for name, networks in found.items() if networks)
    return f"Compiled networks in attacks: {told or 'none'}." if board.compile else ""


def _threat(board: Board) -> str:
    norm = NORM_FACTS[board.threat.norm].sign
    return f"{norm} ≤ {board.radius_text or f'{board.threat.radius:g}'}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _bracket(estimate: Any) -> str:
    """Return the interval of `Estimate.percent`: "[58.2, 64.4]"."""
    told = str(estimate.percent())
    return told[told.index("[") :]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%"


def _chance(probability: float) -> str:
    """Format a probability: "37 %", "< 1 %"."""
    if 0 < probability < 0.01 or 0.99 < probability < 1:
        return "<\u00a01\u00a0%" if probability < 0.5 else ">\u00a099\u00a0%"
    return f"{100 * probability:.0f}\u00a0%"
