"""Texts and the terminal's table of the control rows: the known truth of each one, and what the attacks measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from purebench.core.terminal_output import printable
from purebench.results.grading.evidence import EXCLUDED, RECOVERED, ControlScore, Recovery, Unscored
from purebench.results.grading.grade import GradeEvidence
from purebench.statistics import Estimate

KINDS = {
    "masked": "a known model behind a planted fault",
    "oracle": "a model whose robust accuracy is proven",
    "random": "a random defense whose worst case is known",
}
WIDE = 96
"""Columns of a terminal from which the table has all of its columns."""


@dataclass(frozen=True)
class ControlRow:
    """One control as it is shown.

    Attributes:
        score: its score.
        about: its kind and what it hides, in words.
        truth: its known robust accuracy: "41.7 %", "35.0–41.7 %" or "≤ 41.7 %".
        basis: what the truth is based on.
        excess: the measured accuracy minus the truth, in points.
        alone: the accuracy under each kind of attack, by kind; "" where none of the kind applies.
    """

    score: ControlScore
    about: str
    truth: str
    basis: str
    excess: str
    alone: Mapping[str, str]


def control_rows(evidence: GradeEvidence) -> list[ControlRow]:
    """Return the controls of a board that have a score as they are shown, in its order; empty without controls."""
    kinds = kinds_of(evidence.controls)
    return [
        ControlRow(
            score,
            f"{KINDS[score.kind]}: {score.hides}" if score.kind == "masked" else score.hides,
            truth_text(score),
            f"measured on {score.reference}" if score.reference else "exact",
            excess_text(score),
            {kind: _value(score.by_attack_kind.get(kind)) for kind in kinds},
        )
        for score in evidence.controls
    ]


def kinds_of(scores: Sequence[ControlScore]) -> list[str]:
    """Return the kinds of attacks that apply to at least one of the controls, in their order."""
    return list(dict.fromkeys(kind for score in scores for kind in score.by_attack_kind))


def truth_text(score: ControlScore) -> str:
    """Return the truth in percent: one number if it is exact, two bounds, or "≤" if the lower one is 0."""
    low, high = 100 * score.truth_low, 100 * score.truth_high
    if high - low < 0.05:
        return f"{high:.1f} %"
    return f"{low:.1f}–{high:.1f} %" if low > 0 else f"≤ {high:.1f} %"


def excess_text(score: ControlScore) -> str:
    """Return the measured accuracy minus the truth in points, with its interval: "+2.1 [-1.0, 5.3]"."""
    value, low, high = (100 * number for number in (score.excess.value, score.excess.low, score.excess.high))
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"


def summary_text(evidence: GradeEvidence) -> str:
    """Return which of the controls the attacks recover, and which have no score; empty without controls."""
    if not evidence.controls:
        return ""
    by = {one: [score.name for score in evidence.controls if score.recovery is one] for one in Recovery}
    parts = [
        f"controls: {len(by[Recovery.RECOVERED])} of {len(evidence.controls)} are recovered (at most "
        f"{100 * RECOVERED:g} points above the known truth, with an upper bound of less than {100 * EXCLUDED:g})"
    ]
    groups = {one.heading: names for one, names in by.items() if one is not Recovery.RECOVERED} | {
        "attacks ERRORED on images, which count as right": [one.name for one in evidence.controls if one.errored],
    }
    groups |= {f"no score ({why})": [one.name for one in evidence.unscored if one.why is why] for why in Unscored}
    return "; ".join(parts + [f"{group}: {', '.join(names)}" for group, names in groups.items() if names])


def controls_table(evidence: GradeEvidence, width: int) -> RenderableType | None:
    """Return the table of the controls for a terminal; None without controls.

    Args:
        evidence: the evidence of the board.
        width: columns of the terminal.
    """
    rows = control_rows(evidence)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("control", overflow="fold", max_width=20)
    for name in ("known truth", "measured", "above the truth, points"):
        table.add_column(name, justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("without transfer", justify="right", no_wrap=True)
    for row in rows:
        style = "" if row.score.recovered else "yellow"
        cells = [row.truth, row.score.measured.percent(), row.excess]
        cells += [_value(row.score.without_transfer)] if width >= WIDE else []
        verdict = "" if row.score.recovered else f"\n{row.score.recovery}"
        shown = Text(printable(row.score.name)).append(verdict, style="yellow")
        table.add_row(shown, *(Text(cell, style=style) for cell in cells))
    return Group(table, Text(printable(summary_text(evidence)), style="dim"))


def _value(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{100 * estimate.value:.1f}"
