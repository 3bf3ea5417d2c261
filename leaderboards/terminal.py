"""Prints the ranked table in a terminal: 100 columns show all of it, 80 are enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from purebench.core.terminal_output import make_console, printable
from purebench.leaderboards.badge_text import verification_text
from purebench.leaderboards.evidence.claims_table import claims_table
from purebench.leaderboards.evidence.controls import controls_table
from purebench.leaderboards.notes import ALIKE, notes, threat_text
from purebench.records.provenance import COMPILED
from purebench.results.files.verdicts import RowBadge
from purebench.results.grading.convergence import count_text
from purebench.results.grading.criteria.letters import FAILING
from purebench.results.grading.gathering import Companions, declared_controls, evidence_of
from purebench.results.ranking.rank import Row, rank
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

if TYPE_CHECKING:
    from purebench.boards.board import Board

BARS_FROM, LETTERS_FROM, NAME = 10, 84, 20
"""Smallest width of a bar, smallest width of a terminal in which the letters are shown, and largest width of names that
leaves the bars as they are, in columns."""


def print_board(
    board: Board,
    results: Iterable[DefenseResult],
    console: Console | None = None,
    left_out: Collection[str] = (),
    companions: Companions | None = None,
    badges: Mapping[str, RowBadge] | None = None,
) -> None:
    """Print `board_table` at the width of the console.

    Args:
        board: The board.
        results: Results of its defenses.
        console: Where to print; None for stdout.
        left_out: Rows that were not run because their files are not on the machine.
        companions: Results of the boards derived from the board, such as its controls.
        badges: What is known about the reproduction of the rows; rows without an entry are unverified.
    """
    console = console or make_console()
    console.print(board_table(board, list(results), console.width, left_out, companions, badges))


def board_table(
    board: Board,
    results: Sequence[DefenseResult],
    width: int = 100,
    left_out: Collection[str] = (),
    companions: Companions | None = None,
    badges: Mapping[str, RowBadge] | None = None,
) -> RenderableType:
    """Return the board's heading, its ranked table and the notes below it.

    Args:
        board: The board.
        results: Results of its defenses.
        width: Columns of the terminal.
        left_out: Rows that were not run because their files are not on the machine.
        companions: Results of the boards derived from the board, such as its controls.
        badges: What is known about the reproduction of the rows; rows without an entry are unverified.

    Returns:
        A renderable of rich.
    """
    evidence = evidence_of(results, companions, declared_controls(board))
    rows = rank(results, evidence, board.origin)
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    ranked = [row.ranks.letters for row in rows if row.ranks]
    letters = max(map(len, ranked)) if len(ranked) > 1 else 0
    lettered = letters > 0 and width >= LETTERS_FROM + max(letters, len(ALIKE))
    bespoke = any(attack.rows for attack in board.attacks) or any(row.result.challenged for row in rows)
    bar = min(30, width - 82 - (2 + max(letters, len(ALIKE)) if lettered else 0) - (12 if bespoke else 0))
    bar, widest = _widths(bar, max((len(_name(row).plain.partition("\n")[0]) for row in rows), default=0))
    table.add_column("rank", justify="right", no_wrap=True)
    if lettered:
        table.add_column(ALIKE, no_wrap=True)
    table.add_column("defense", overflow="fold", max_width=widest)
    table.add_column("grade  robust accuracy", no_wrap=True)
    if bar >= BARS_FROM:
        table.add_column(axis(bar), no_wrap=True, header_style="dim")
    if bespoke:
        table.add_column("best known", justify="right", no_wrap=True)
    table.add_column("clean", justify="right", no_wrap=True)
    certified = any(row.certified for row in rows)
    if certified:
        table.add_column("certified", justify="right", no_wrap=True)
    table.add_column("strongest †" if board.cascade else "strongest attack", overflow="fold", max_width=16)
    for row in rows:
        cells = [_rank(row), *([_letters(row)] if lettered else []), _name(row), _graded(row)]
        if bar >= BARS_FROM:
            cells.append(draw(row.robust, bar, row.clean) if row.rank and row.robust else Text())
        cells += [_known(row)] if bespoke else []
        cells.append(_clean(row.clean))
        if certified:
            cells.append(_clean(row.certified))
        table.add_row(*cells, _strongest(row))
    shown = [table] if rows else []
    marks = (bool(rows) and bar >= BARS_FROM, lettered)
    converged = count_text(evidence.convergence)
    beside = [table for table in (claims_table(rows), controls_table(evidence, width)) if table is not None]
    told = [Text(printable(verification_text(rows, badges or {})), style="dim")] if rows else []
    return Group(_heading(board, rows), *shown, *notes(board, rows, marks, left_out, converged), *told, *beside)


def _widths(bar: int, longest: int) -> tuple[int, int]:
    """Return the widths of the bars and of the names: the bars are narrower, or left out, for names that are long.

    Args:
        bar: the width that is left for the bars beside names of NAME columns.
        longest: the width of the longest name.
    """
    more = max(0, longest - NAME)
    if bar - more >= BARS_FROM or not more:
        return bar - more, NAME + more
    return 0, NAME + min(more, max(0, bar + 2))


def axis(width: int) -> str:
    """Return the scale above the bars, `width` characters: "0        50       100"."""
    left = "0" + " " * (width // 2 - 2) + "50"
    return left + "100".rjust(width - len(left))


def draw(estimate: Estimate, width: int, clean: Estimate | None = None) -> Text:
    """Draw the interval of a fraction on a scale from 0 to 1, ├─●──┤, and the clean accuracy as ○.

    Args:
        estimate: The fraction.
        width: Characters of the scale.
        clean: The clean accuracy, None for none.

    Returns:
        The text.
    """
    ends = (estimate.low, estimate.value, estimate.high)
    low, value, high = (min(width - 1, int(end * width)) for end in ends)
    marks = ["╌"] * width
    if clean:
        marks[min(width - 1, int(clean.value * width))] = "○"
    marks[low : high + 1] = "─" * (high + 1 - low)
    marks[low], marks[high] = "├", "┤"
    marks[value] = "●"
    bar = Text("".join(marks), style="dim")
    bar.stylize("not dim cyan", low, high + 1)
    bar.stylize("bold", value, value + 1)
    return bar


def _heading(board: Board, rows: Sequence[Row]) -> Text:
    heading = Text(printable(board.title), style="bold")
    facts = [
        threat_text(board),
        printable(board.dataset.use.name),
        f"{board.dataset.images} images",
        f"{board.draws} + {board.fresh} draws",
        f"{100 * board.confidence:g} % confidence",
        *(["cascade"] if board.cascade else []),
        *([f"attacks in {board.attack_precision}"] if board.attack_precision != "float32" else []),
        *(["attacks in channels-last layout"] if board.channels_last else []),
        *([_compiled(rows)] if board.compile else []),
    ]
    heading.append("\n" + " · ".join(facts), style="not bold dim")
    return heading


def _compiled(rows: Sequence[Row]) -> str:
    """Return in how many rows the attacks called compiled networks."""
    count = sum(bool(row.result.provenance.get(COMPILED)) for row in rows)
    if count == len(rows):
        return "attacks compiled"
    return f"attacks compiled in {count} of {len(rows)} rows"


def _rank(row: Row) -> Text:
    if not row.rank:
        return Text("–", style="dim")
    return Text(row.ranks.text if row.ranks else f"{row.rank}")


def _letters(row: Row) -> Text:
    return Text(row.ranks.letters if row.ranks else "", style="dim")


def _name(row: Row) -> Text:
    done = f"\n{len(row.result.images)} of {row.result.board['dataset']['images']} images"
    name = Text(printable(row.name), style="bold" if row.rank else "")
    if row.warnings:
        name.append(" ⚠", style="bold yellow")
    return name if row.result.complete else name.append(done, style="not bold yellow")


def _graded(row: Row) -> Text:
    """Return the grade of the row and its robust accuracy, below the headings of both."""
    letter = "–" if row.grade is None else row.grade.letter
    failing = row.grade is not None and row.grade.letter in FAILING
    return Text(letter, style="bold yellow" if failing else "bold").append("  ").append(_robust(row))


def _robust(row: Row) -> Text:
    if not row.rank or row.robust is None:
        if row.bounds is None or row.result.failed:
            return Text("errored" if row.result.errored else "no attack applies", style="yellow")
        low, high = (100 * bound.value for bound in row.bounds)
        return Text(f"{low:.1f}–{high:.1f} %\n   ! {row.errored} of {row.bounds[0].n} errored", style="yellow")
    told = row.robust.percent()
    number = Text(told.rjust(len(told) + 5 - told.index(" ")))
    number.stylize("bold", 0, number.plain.index("["))
    return number


def _known(row: Row) -> Text:
    """Return the best known accuracy; without a bespoke attack or a challenge, the robust accuracy in dim letters."""
    known = row.result.best_known is not None or row.result.challenged is not None
    return _clean(row.best_known) if known else Text(_clean(row.robust).plain, style="dim")


def _clean(clean: Estimate | None) -> Text:
    return Text(f"{100 * clean.value:.1f} %" if clean else "–")


def _strongest(row: Row) -> Text:
    return Text(printable(row.strongest or "–"), style="" if row.strongest else "dim")
