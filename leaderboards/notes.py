"""Texts about a board that the terminal, the page and notebooks share: the threat, the methods, the notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from purebench.core.terminal_output import printable
from purebench.leaderboards.evidence.grade_text import BEST_KNOWN, UPPER_BOUND, grade_notes
from purebench.leaderboards.figures_text import figure_notes
from purebench.results.attack_claims import attack_claim
from purebench.results.errored import RETRY
from purebench.results.ranking.rank import Row
from purebench.results.results import CLEAN

if TYPE_CHECKING:
    from purebench.boards.board import Board

METHOD_NAMES = {
    "clopper-pearson": "Clopper–Pearson",
    "wilson": "Wilson",
    "gaffke": "Gaffke",
    "bracket": "bracket of the worst case",
    "bracket-sequence": "bracket of the worst case, valid at any time",
    "betting": "betting",
    "betting-sequence": "betting sequence, valid at any time",
}
ALIKE = "alike"


def threat_text(board: Board) -> str:
    """Return the threat as the board's author wrote it: "linf 8/255"."""
    return f"{board.threat.norm} {board.radius_text or f'{board.threat.radius:g}'}"


def methods_text(rows: Iterable[Row]) -> str:
    """Return the names of the interval methods, and the purpose of each."""
    uses = {(row.robust.method, "random" if row.random else "deterministic") for row in rows if row.robust}
    return ", ".join(f"{METHOD_NAMES.get(method, method)} ({use})" for method, use in sorted(uses))


def compared_text(rows: Sequence[Row]) -> str:
    """Describe the images on which ranks were compared; empty where all rows have the same."""
    shared = next((row.ranks.images for row in rows if row.ranks), None)
    most = max((len(row.result.images) for row in rows if row.ranks), default=0)
    return "" if shared is None or shared == most else f"ranks: compared on the {shared} images that all rows have"


def stopped_text(board: Board, rows: Sequence[Row]) -> str:
    """Describe the progress of a run with a stopping rule, and how many blocks it saved; empty without a rule.

    Args:
        board: The board.
        rows: Its rows.

    Returns:
        The text.
    """
    if board.stop is None or not rows:
        return ""
    images = max(len(row.result.images) for row in rows)
    spared = board.blocks - -(-images // board.dataset.block)
    so_far = f"{images} of {board.dataset.images} images"
    if not all(row.result.complete for row in rows):
        return f"{so_far} so far; it stops as soon as {board.stop.text}" if board.stop.early else ""
    if not spared:
        return ""
    why = (
        board.stop.text
        if board.stop.early and board.images_of(board.most_blocks) > images
        else "the largest number asked for"
    )
    return f"stopped at {so_far}, {spared} of {board.blocks} blocks saved: {why}"


def brackets_text(board: Board, rows: Sequence[Row]) -> str:
    """Describe the bracket of each random defense; empty where there is none.

    Args:
        board: The board.
        rows: Its rows.

    Returns:
        The text.
    """
    found = [f"{row.name} {100 * row.bracket.low:.1f}–{100 * row.bracket.high:.1f} %" for row in rows if row.bracket]
    title = f"bracket ({100 * board.confidence:g} % confidence) of the accuracy under the worst attack of each image"
    return f"{title}: {', '.join(found)}" if found else ""


def best_known_text(rows: Sequence[Row]) -> str:
    """Return the meaning of the best known accuracies, and those of the rows with bespoke attacks, with intervals."""
    found = [
        f"{row.name} {row.best_known.percent()}"
        for row in rows
        if row.best_known and (row.result.best_known or row.result.challenged)
    ]
    return f"{BEST_KNOWN}: {', '.join(found)}" if found else BEST_KNOWN


def notes(
    board: Board, rows: Sequence[Row], marks: tuple[bool, bool], left_out: Collection[str], converged: str = ""
) -> list[Text]:
    """Return the notes below the table, a line each.

    Args:
        board: The board.
        rows: Its rows.
        marks: Whether the table has bars, and letters.
        left_out: Rows that were not run because their files are not on the machine.
        converged: How many rows converged, in a sentence; "" without a ladder.

    Returns:
        The lines.
    """
    bars, lettered = marks
    notes = [*grade_notes(rows), f"robust accuracy: {UPPER_BOUND}"] if rows else []
    bespoke = any(attack.rows for attack in board.attacks) or any(row.result.challenged for row in rows)
    notes += [best_known_text(rows)] if rows and bespoke else []
    notes += [stopped] if (stopped := stopped_text(board, rows)) else []
    notes += [f"{100 * board.confidence:g} % intervals: {methods}"] if (methods := methods_text(rows)) else []
    if bars:
        notes.append("├─● robust accuracy (at the picked adversarial examples) and its interval, ○ clean accuracy")
    if any(row.ranks and row.ranks.low < row.ranks.high for row in rows):
        alike = f"; rows that share a letter ({ALIKE}) are statistically indistinguishable" if lettered else ""
        notes.append(f"rank: simultaneous {100 * board.confidence:g} % confidence interval{alike}")
    notes += [compared] if (compared := compared_text(rows)) else []
    if any(row.bounds and not row.result.failed for row in rows):
        notes.append("! an attack failed to run on these images: bounds with all of them wrong and all right; no rank")
    notes += [bracketed] if (bracketed := brackets_text(board, rows)) else []
    notes += [converged] if converged else []
    errors = [f"! {row.name}: {error}" for row in rows for error in row.errors]
    notes += [*errors, f"! {RETRY}"] if errors else []
    notes += [f"⚠ {row.name}: {warning}" for row in rows for warning in row.warnings]
    if board.cascade and rows:
        notes.append(
            "† cascade: images that are wrong on every draw skip the later attacks; single attacks' accuracies are "
            "conditional, so the strongest is the one that broke the most images"
        )
    notes += [
        f"{row.name}: certified {row.certified.percent()}: proven to hold at the radius, under any attack"
        for row in rows
        if row.certified
    ]
    notes += [
        f"{row.name}, {attack.name}: {own.remark}"
        for row in rows
        for attack in row.result.attacks
        if (own := attack_claim(attack)) and own.remark
    ]
    notes += figure_notes(rows)
    if not any(attack.name == CLEAN for attack in board.attacks):
        notes.append(f'no clean accuracy: the board has no attack named "{CLEAN}"')
    elif board.cascade and board.attacks[0].name != CLEAN:
        notes.append(f'– clean: conditional, because "{CLEAN}" is not the first attack of the cascade')
    if absent := [defense.name for defense in board.shown if defense.name in left_out]:
        notes.append(f"not run: file missing: {', '.join(absent)}")
    known = {row.name for row in rows}.union(left_out)
    if waiting := [defense.name for defense in board.shown if defense.name not in known]:
        notes.append(f"no finished block yet: {', '.join(waiting)}")
    return [Text(printable(note), style="dim") for note in notes]
