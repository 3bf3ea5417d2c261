"""Presents a submission: for a terminal, and as Markdown for a comment on a pull request."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from purebench.checks.verification.report import inert
from purebench.checks.verification.submission import Submission
from purebench.core.terminal_output import printable


def summary(found: Submission) -> RenderableType:
    """Return the summary of a submission for a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in _fields(found):
        table.add_row(name, Text(printable(value)))
    return Group(Text(printable(f"submission {found.folder}: valid"), style="bold"), table)


def summary_markdown(found: Submission) -> str:
    """Return the summary of a submission in Markdown, in which all of its text is inert."""
    lines = [f"### Submission of {inert(found.entry.row)} to {inert(found.entry.board)}", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {inert(value)} |" for name, value in _fields(found)]
    return "\n".join(lines) + "\n"


def _fields(found: Submission) -> list[tuple[str, str]]:
    """Return the fields that are stated, and the claim."""
    entry, numbers = found.entry, found.bundle.manifest.numbers
    claims = {"robust accuracy": numbers.robust, "clean accuracy": numbers.clean}
    told = [("title", entry.title), ("authors", ", ".join(entry.authors)), ("venue", entry.venue)]
    told += [("year", str(entry.year or "")), ("paper", entry.paper), ("code", entry.code), ("licence", entry.licence)]
    told += [("note", entry.note)]
    told += [
        (name, f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}] (claimed)")
        for name, one in claims.items()
        if one is not None
    ]
    told += [("Python files", ", ".join(found.bundle.manifest.code_files)), ("bundle", found.bundle.hash)]
    told += [("remark", remark) for remark in found.remarks]
    return [(name, value) for name, value in told if value]
