"""Prints what others claim for the rows of a board, below its table."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from purebench.core.terminal_output import printable
from purebench.results.figures.published_claims import PROTOCOL, claims_of
from purebench.results.ranking.rank import Row


def claims_table(rows: Sequence[Row]) -> RenderableType | None:
    """Return the claims, a line each, or None if there is none for any row."""
    found = [(row, one) for row in rows for one in claims_of(row.result)]
    if not found:
        return None
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("defense", overflow="fold", max_width=24)
    for name in ("claimed robust", "claimed clean"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("attack", overflow="fold")
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for row, one in found:
        claim = one.claim
        numbers = f"{claim.robust} %", f"{claim.clean} %"
        table.add_row(printable(row.name), *numbers, one.source.attack, f"{claim.images:,}", one.source.cited)
    return Group(Text(PROTOCOL, style="dim"), table)
