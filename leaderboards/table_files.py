"""Writes the ranked table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from purebench.core.terminal_output import printable
from purebench.leaderboards.badge_text import shown_badge
from purebench.leaderboards.figures_text import attack_columns
from purebench.results.figures.passes import passes_per_image
from purebench.results.figures.published_claims import claimed_text, claims_of
from purebench.results.files.verdicts import RowBadge
from purebench.results.ranking.rank import Row
from purebench.results.results import spec_text
from purebench.statistics import Estimate

COLUMNS = (
    *("rank", "defense", "grade", "robust accuracy, %", "clean accuracy, %", "strongest attack", "images"),
    "verification",
)
CLAIMED = "claimed by another protocol, robust"
"""Heading of a further column, if anything is claimed for a row."""
ALIGNMENT = "rllrrlrll"
"""Alignment of the columns in LaTeX's letters: right or left."""
CSV_COLUMNS = (
    *("rank", "defense", "grade", "robust", "robust_low", "robust_high", "clean", "clean_low", "clean_high"),
    *("confidence", "method", "strongest_attack", "images", "errored", "complete"),
    *("purifier_passes_per_image", "best_known", "best_known_low", "best_known_high", "verification"),
    *("claimed_by_another_protocol", "rank_low", "rank_high", "rank_images"),
)
ATTACK_COLUMNS = (
    *("defense", "attack", "use", "gradient", "eot", "accuracy", "accuracy_low", "accuracy_high", "images"),
    *("spared", "errored", "forwards", "backwards"),
)
"""First columns of the table of attacks; those of `attack_columns` follow."""
MARKDOWN = str.maketrans({one: f"\\{one}" for one in "\\`*_{}[]<>#|~"})
LATEX = str.maketrans(
    {
        **{one: f"\\{one}" for one in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
    }
)
FORMULA = tuple("=+-@\t\r")
"""First characters of a cell that a spreadsheet interprets as a formula."""


def markdown(rows: Sequence[Row], badges: Mapping[str, RowBadge] | None = None) -> str:
    """Return the table in Markdown.

    Args:
        rows: In the order of their ranks.
        badges: What is known about the verification of the rows; rows without an entry are unverified.
    """
    head, *body = _table(rows, badges)
    lines = [head, [{"r": "--:", "l": "---"}[side] for side in ALIGNMENT[: len(head)]]]
    cells = [[one.translate(MARKDOWN) for one in line] for line in body]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*lines, *cells])


def latex(rows: Sequence[Row], caption: str, badges: Mapping[str, RowBadge] | None = None) -> str:
    """Return the table in LaTeX; the only package it needs is booktabs.

    Args:
        rows: In the order of their ranks.
        caption: Plain text.
        badges: What is known about the verification of the rows; rows without an entry are unverified.

    Returns:
        The LaTeX code.
    """
    lines = [[one.translate(LATEX) for one in line] for line in _table(rows, badges)]
    columns = ALIGNMENT[: len(lines[0])]
    head, *body = [f"  {' & '.join(line)} \\\\\n" for line in lines]
    return (
        f"\\begin{{table}}\n\\centering\n\\begin{{tabular}}{{{columns}}}\n  \\toprule\n"
        f"{head}  \\midrule\n{''.join(body)}  \\bottomrule\n\\end{{tabular}}\n"
        f"\\caption{{{printable(caption).translate(LATEX)}}}\n\\end{{table}}\n"
    )


def comma_separated(rows: Sequence[Row], badges: Mapping[str, RowBadge] | None = None) -> str:
    """Return the table as CSV with fractions in [0,1]; text that a spreadsheet would run is prefixed with `'`.

    Args:
        rows: In the order of their ranks.
        badges: What is known about the verification of the rows; rows without an entry are unverified.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        values = [row.rank, row.name, _grade(row), *_ends(row.robust if row.rank else None), *_ends(row.clean)]
        values += [row.robust.confidence, row.robust.method] if row.robust else ["", ""]
        values += [row.strongest or "", len(row.result.images), row.errored, row.result.complete]
        values += [passes_per_image(row.result).total, *_ends(row.best_known), shown_badge(row.name, badges)]
        values.append(claimed_text(claims_of(row.result)))
        values += [row.ranks.low, row.ranks.high, row.ranks.images] if row.ranks else ["", "", ""]
        writer.writerow(["" if value is None else cell(value) for value in values])
    return text.getvalue()


def attacks_comma_separated(rows: Sequence[Row]) -> str:
    """Return a table of every attack on every row as CSV, with its cost and the figures that are not ranked.

    `images` are those that the accuracy is of. A cascade spares images that an earlier attack broke (`spared`), so that
    the accuracy is conditional.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    pairs = [(row, *pair) for row in rows for pair in zip(row.cells, row.result.attacks, strict=True)]
    for place, (row, score, attack) in enumerate(pairs):
        figures = attack_columns(row.result, attack)
        if not place:
            writer.writerow([*ATTACK_COLUMNS, *figures])
        values = [row.name, attack.name, spec_text(attack.spec), attack.gradient, attack.eot]
        found = None if score.failed else score.estimate
        values += [*_ends(found), None if found is None else found.n, score.spared, score.errored]
        values += [attack.forwards, attack.backwards]
        writer.writerow(["" if value is None else cell(value) for value in (*values, *figures.values())])
    return text.getvalue()


def cell(value: object) -> str:
    """Return a value as a cell of CSV that no spreadsheet interprets as a formula.

    >>> cell("=1+1")
    "'=1+1"
    """
    if not isinstance(value, str):
        return str(value)
    plain = printable(value)
    return f"'{plain}" if value.lstrip().startswith(FORMULA) or plain.startswith(FORMULA) else plain


def _ends(estimate: Estimate | None) -> list[float | None]:
    return [None] * 3 if estimate is None else [estimate.value, estimate.low, estimate.high]


def _table(rows: Sequence[Row], badges: Mapping[str, RowBadge] | None) -> list[list[str]]:
    """Return the heading and the lines of the table, with the claims if there are any."""
    claimed = [claims_of(row.result) for row in rows]
    lines = [[*COLUMNS], *(_texts(row, badges) for row in rows)]
    if not any(claimed):
        return lines
    cells = [CLAIMED, *(printable(claimed_text(found)) or "–" for found in claimed)]
    return [[*line, cell] for line, cell in zip(lines, cells, strict=True)]


def _texts(row: Row, badges: Mapping[str, RowBadge] | None) -> list[str]:
    place = row.ranks.text if row.ranks else f"{row.rank or '–'}"
    robust = row.robust.percent().replace(" %", "") if row.rank and row.robust else "–"
    clean = f"{100 * row.clean.value:.1f}" if row.clean else "–"
    told = (row.strongest or "–", str(len(row.result.images)), shown_badge(row.name, badges))
    return [printable(one) for one in (place, row.name, _grade(row), robust, clean, *told)]


def _grade(row: Row) -> str:
    return "–" if row.grade is None else str(row.grade.letter)
