"""The chosen strengths of a sweep as a Markdown table, for reports and the documentation."""

from __future__ import annotations

from purebench.checks.sweeps.outcome import FamilyOutcome, SweepOutcome

HEADS = ("family", "on the board", "chosen", "robust accuracy", "clean loss", "not distinguished")


def markdown_table(outcome: SweepOutcome) -> str:
    """Return a table with a line for each family, and a column for each further radius; it ends in a line break.

    A chosen strength whose clean loss is above the limit is marked with an asterisk, one with warnings with ⚠.
    Strengths that were not evaluated are listed below the table.

    Args:
        outcome: The sweep.
    """
    radii = list(dict.fromkeys(one.written for family in outcome.families for one in family.radii))
    others = [radius for radius in radii if radius != outcome.radius_text]
    heads = [*HEADS, *(f"robust at {radius}" for radius in others)]
    lines = [heads, ["---"] * len(heads), *(_cells(family, others) for family in outcome.families)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    left = [f"- {family.name}: {family.unmeasured}\n" for family in outcome.families if family.unmeasured]
    return f"{table}\nNot evaluated, so that they could not be chosen:\n\n{''.join(left)}" if left else table


def _cells(family: FamilyOutcome, radii: list[str]) -> list[str]:
    chosen = family.chosen
    rows = ", ".join(point.label for point in family.points if point.on_board) or "–"
    if chosen is None or family.choice is None:
        return [family.name, rows, "none", *["–"] * (len(HEADS) - 3 + len(radii))]
    assert chosen.robust is not None
    assert chosen.clean_loss is not None
    loss = chosen.clean_loss
    curve = {one.written: one.robust for one in family.radii}
    return [
        family.name,
        rows,
        f"{chosen.label}{'' if family.choice.within else ' *'}{' ⚠' if chosen.warnings else ''}",
        chosen.robust.percent(),
        f"{100 * loss.value:.1f} [{100 * loss.low:.1f}, {100 * loss.high:.1f}]",
        ", ".join(family.alike) or "–",
        *("–" if (found := curve.get(radius)) is None else f"{100 * found.value:.1f} %" for radius in radii),
    ]
