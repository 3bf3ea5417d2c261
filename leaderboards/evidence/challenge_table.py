"""The history of a standing challenge as a table: for a terminal, and as Markdown, LaTeX, CSV and JSON.

Authors and notes come from anyone: every format makes them inert.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from purebench.core.terminal_output import printable
from purebench.leaderboards.table_files import LATEX, MARKDOWN, cell
from purebench.results.files.challenge_history import Decided, Submitted

Submission = tuple[Submitted, Decided | None]

COLUMNS = ("k", "date", "author", "images", "p", "level", "result", "best known, %", "note")
OPEN = "not decided"
"""Result of a submission whose evaluation was killed, or still runs."""


def rows(submissions: Sequence[Submission]) -> list[list[str]]:
    """Return the cells of each submission as plain text, without control characters."""
    return [[printable(one) for one in _cells(*submission)] for submission in submissions]


def markdown(submissions: Sequence[Submission]) -> str:
    """Return the table in Markdown."""
    lines = [[one.translate(MARKDOWN) for one in row] for row in rows(submissions)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [list(COLUMNS), ["---"] * len(COLUMNS), *lines])


def latex(submissions: Sequence[Submission]) -> str:
    """Return the table in LaTeX; the only package it needs is booktabs."""
    head, *body = [
        f"  {' & '.join(one.translate(LATEX) for one in row)} \\\\\n" for row in [list(COLUMNS), *rows(submissions)]
    ]
    return (
        "\\begin{tabular}{rllrrrlrp{5cm}}\n  \\toprule\n"
        f"{head}  \\midrule\n{''.join(body)}  \\bottomrule\n\\end{{tabular}}\n"
    )


def comma_separated(submissions: Sequence[Submission]) -> str:
    """Return the table as CSV; text that a spreadsheet would run is prefixed with `'`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(submissions):
        writer.writerow([cell(one) for one in row])
    return text.getvalue()


def as_json(submissions: Sequence[Submission]) -> str:
    """Return the events as JSON; control characters of authors and notes are escaped."""
    told: list[dict[str, Any]] = [
        {"submitted": vars(event), "decided": None if found is None else _plain(found)} for event, found in submissions
    ]
    return json.dumps(told, indent=1, ensure_ascii=True) + "\n"


FORMATS: dict[str, Callable[[Sequence[Submission]], str]] = {
    ".md": markdown,
    ".tex": latex,
    ".csv": comma_separated,
    ".json": as_json,
}
"""The text of a file by its suffix."""


def _cells(event: Submitted, found: Decided | None) -> list[str]:
    after = None if found is None else found.after
    told = OPEN if found is None else "accepted" if found.accepted else "not accepted"
    return [
        *(str(event.number), event.date[:10], event.author, str(event.images)),
        *("–" if found is None else f"{found.p_value:.2g}", f"{event.level:.2g}", told),
        *("–" if after is None else after.estimate.percent().replace(" %", ""), event.note),
    ]


def _plain(found: Decided) -> dict[str, Any]:
    bounds = {name: bound and vars(bound) for name, bound in (("before", found.before), ("after", found.after))}
    return {**vars(found), **bounds}
