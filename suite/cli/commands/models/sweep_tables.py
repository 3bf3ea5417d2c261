"""Prints a sweep: a table for each family, the choice of the rule, and the curve over the radius; 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from purebench.checks.sweeps.outcome import Contrast, FamilyOutcome, Point, SweepOutcome
    from purebench.statistics import Estimate

STAR = "★ "


def print_sweep(outcome: SweepOutcome, console: Console | None = None) -> None:
    """Print all families, and the meaning of the columns.

    Args:
        outcome: The sweep.
        console: Where to print; None for stdout.
    """
    from rich.text import Text

    from purebench.cli.commands.models.inspection_tables import console as usual

    console = console or usual()
    console.print(Text(f"Sweep of {outcome.board} on dev images", style="bold"))
    console.print(
        Text(
            f"{outcome.norm} {outcome.radius_text} · {len(outcome.images)} dev images · "
            f"{100 * outcome.undefended.confidence:g} % confidence · clean accuracy without a defense "
            f"{outcome.undefended.percent()}",
            style="dim",
        )
    )
    for family in outcome.families:
        console.print()
        console.print(Text(f"{family.name}: {family.defense}", style="bold"))
        console.print(_table(family))
        for line in _told(family, outcome.board):
            console.print(line)
    console.print()
    console.print(
        Text(
            f"rule: of the strengths with a clean loss of at most {100 * outcome.largest_clean_loss:g} points, the one "
            "with the highest robust accuracy. clean loss: clean accuracy without a defense less that of the strength, "
            "paired by image. against ★: paired test on the same images, adjusted by Holm. The accuracies of ★ are "
            "biased upwards, because they decided the choice: the board's own images give its accuracy. ⚠: the robust "
            "accuracy may be too high.",
            style="dim",
        )
    )


def _table(family: FamilyOutcome) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from purebench.core.terminal_output import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("strength", overflow="fold", min_width=12, max_width=26)
    for head in ("robust accuracy", "clean accuracy", "clean loss"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("against ★", no_wrap=True)
    contrasts = {one.label: one for one in family.contrasts}
    for point in family.points:
        chosen = point is family.chosen
        name = Text(f"{STAR if chosen else '  '}{printable(point.label)}", style="bold" if chosen else "")
        if point.warnings:
            name.append(" ⚠", style="bold yellow")
        table.add_row(
            name,
            _robust(point),
            Text("–" if point.clean is None else point.clean.percent()),
            Text(_loss(point.clean_loss)),
            Text("" if chosen else _against(contrasts.get(point.label))),
        )
    return table


def _robust(point: Point) -> Text:
    from rich.text import Text

    if point.robust is None:
        return Text(f"{point.errored} errored" if point.errored else "no attack applies", style="yellow")
    return Text(point.robust.percent())


def _loss(found: Estimate | None) -> str:
    from purebench.cli.commands.models.inspection_tables import points

    return "–" if found is None else points(found, sign="+")


def _against(contrast: Contrast | None) -> str:
    """Return whether a strength is distinguished from the chosen one."""
    if contrast is None:
        return "–"
    p_value = f"p {contrast.p_value:.2g}" if contrast.p_value >= 1e-4 else "p < 0.0001"
    if not contrast.apart:
        return f"≈ ({p_value})"
    return f"{'higher' if contrast.difference.value > 0 else 'lower'} ({p_value})"


def _told(family: FamilyOutcome, board: str) -> Iterable[Text]:
    """Yield the choice, the strengths that are not distinguished from it, the row of the board, and the radii."""
    from rich.text import Text

    from purebench.core.terminal_output import printable

    if family.chosen is None or family.choice is None:
        why = f": {printable(family.unmeasured)}" if family.unmeasured else ""
        yield Text(f"no strength was evaluated, so that none is chosen{why}", style="yellow")
        return
    yield Text(f"{STAR}{printable(family.chosen.label)}: {printable(family.reason)}.", style="bold")
    if family.alike:
        yield Text(f"  not distinguished from it by robust accuracy: {printable(', '.join(family.alike))}")
    if rows := [point for point in family.points if point.on_board]:
        same = ", ".join(f"{printable(point.row)} ({printable(point.label)})" for point in rows)
        yield Text(f"  on {printable(board)}: {same}")
    for warning in family.chosen.warnings:
        yield Text(f"  ⚠ {printable(family.chosen.label)}: {printable(str(warning))}", style="yellow")
    if family.radii:
        told = ", ".join(
            f"{one.written}: {'–' if one.robust is None else one.robust.percent()}" for one in family.radii
        )
        yield Text(f"  robust accuracy of {STAR}by radius: {told}")
    for check in family.checks:
        style = {"holds": "green", "fails": "bold red", "undecided": "yellow"}.get(check.result, "dim")
        yield (
            Text(f"  {check.result}: ", style=style)
            .append(f"{check.name}", style="not bold default")
            .append("" if check.result == "holds" else f" ({check.sentence})", style="not bold default")
        )
