"""Texts about the grades of evaluations, and about robust accuracy as an upper bound."""

from __future__ import annotations

from collections.abc import Sequence

from purebench.results.ranking.rank import Row

UPPER_BOUND = "an upper bound, set by the attacks that were tried"
"""Words that stand beside every robust accuracy."""
MEANING = (
    "grade: of the evaluation, not of the defense: the worst of integrity, attack adequacy and precision; the commands "
    "that raise it are on the page (--page) and in grades.json (--results)"
)
BEST_KNOWN = "best known: with attacks that are bespoke to the row, or at the examples of a challenge; not ranked"


def grade_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes below a table about the grades: their meaning, and a line for each reason that decides one.

    Args:
        rows: Rows of the board.
    """
    graded = [(row.name, row.grade) for row in rows if row.grade is not None]
    names: dict[str, list[str]] = {}
    for name, grade in graded:
        for text in dict.fromkeys(f"{one.letter} {one.code}: {one.short}" for one in grade.deciding):
            names.setdefault(text, []).append(name)
    told = [f"{text} ({_which(of, [name for name, _ in graded])})" for text, of in sorted(names.items())]
    return [MEANING, *told] if graded else []


def _which(names: Sequence[str], every: Sequence[str]) -> str:
    rest = [name for name in every if name not in names]
    if len(rest) >= len(names) or len(every) == 1:
        return ", ".join(names)
    return f"all rows but {', '.join(rest)}" if rest else "all rows"
