"""Draws a sweep: robust against clean accuracy of each family, and robust accuracy against the radius."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from purebench.core.norms.norm_facts import NORM_FACTS

if TYPE_CHECKING:
    from purebench.checks.sweeps.outcome import FamilyOutcome, SweepOutcome
    from purebench.statistics import Estimate

ACCENT, CHOSEN, SOFT = "#0b6e74", "#c2571a", "#b9b4ab"
COLUMNS = 3
"""Largest number of panels side by side."""
PANEL = (4.3, 3.5)
"""Width and height of a panel in inches."""


def draw(outcome: SweepOutcome, path: Path) -> None:
    """Write the picture as PNG or SVG, by the ending of the path.

    There is a panel for each family, in which the other families are grey, and one for the radii, if they are swept.

    Args:
        outcome: The sweep.
        path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curved = [family for family in outcome.families if family.radii]
    panels = len(outcome.families) + bool(curved)
    columns = min(COLUMNS, panels)
    lines = -(-panels // columns)
    figure = Figure(figsize=(columns * PANEL[0], lines * PANEL[1] + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for one, family in zip(axes, outcome.families, strict=False):
        _family(one, outcome, family)
    if curved:
        _radii(axes[len(outcome.families)], outcome, curved)
    for one in axes[panels:]:
        one.set_visible(False)
    images, confidence = len(outcome.images), 100 * outcome.undefended.confidence
    figure.suptitle(
        f"{outcome.board}: {images} dev images, {outcome.norm} {outcome.radius_text}; {confidence:g} % intervals. "
        f"Star: chosen by the rule. Shaded: clean loss above {100 * outcome.largest_clean_loss:g} points.",
        fontsize=9,
        wrap=True,
    )
    figure.savefig(path, dpi=130)


def _family(axes: Any, outcome: SweepOutcome, family: FamilyOutcome) -> None:
    """Draw the strengths of a family in the order in which they are written, with intervals on both axes."""
    for other in outcome.families:
        if other is family:
            continue
        axes.plot(*_places(other), "o", color=SOFT, markersize=3, zorder=1)
    swept = list(dict.fromkeys(name for point in family.points for name in point.values))
    if len(swept) == 1:  # several parameters have no order
        axes.plot(*_places(family), "-", color=ACCENT, linewidth=1.2, zorder=2)
    for point in family.points:
        if point.robust is None or point.clean is None:
            continue
        star = point is family.chosen
        colour = CHOSEN if star else ACCENT
        axes.errorbar(
            100 * point.clean.value,
            100 * point.robust.value,
            xerr=_ends(point.clean),
            yerr=_ends(point.robust),
            fmt="*" if star else "o",
            color=colour,
            markersize=12 if star else 5,
            elinewidth=0.9,
            alpha=1 if star else 0.8,
            zorder=4 if star else 3,
        )
        axes.annotate(
            ", ".join(point.values.values()),
            (100 * point.clean.value, 100 * point.robust.value),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=7,
            color=colour,
            zorder=5,
        )
    limit = 100 * (outcome.undefended.value - outcome.largest_clean_loss)
    axes.axvspan(-2, max(limit, -2), color="#f1eee8", zorder=0, linewidth=0)
    axes.axvline(100 * outcome.undefended.value, color=SOFT, linestyle=":", linewidth=1)
    lowest = min((point.clean.low for one in outcome.families for point in one.points if point.clean), default=0.0)
    left = 10 * int(10 * lowest) - 2
    axes.set(xlim=(left, 102), ylim=(-2, 102), xlabel="clean accuracy (%)", ylabel="robust accuracy (%)")
    title = ": ".join(filter(None, (family.name, ", ".join(swept))))
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    if family.unmeasured:
        left_out = f"not evaluated: {family.unmeasured}"
        axes.text(0.02, 0.98, left_out, transform=axes.transAxes, va="top", fontsize=7, color=CHOSEN, wrap=True)


def _places(family: FamilyOutcome) -> tuple[list[float], list[float]]:
    known = [(one.clean.value, one.robust.value) for one in family.points if one.clean and one.robust]
    return [100 * clean for clean, _ in known], [100 * robust for _, robust in known]


def _ends(estimate: Estimate) -> list[list[float]]:
    """Return the lengths of the interval below and above the value, in percent."""
    return [[100 * (estimate.value - estimate.low)], [100 * (estimate.high - estimate.value)]]


def _radii(axes: Any, outcome: SweepOutcome, curved: list[FamilyOutcome]) -> None:
    """Draw the robust accuracy of the chosen strengths against the radius; 0 is the clean accuracy."""
    facts = NORM_FACTS[outcome.norm]
    for number, family in enumerate(curved):
        known = [(one.radius * facts.unit, one.robust) for one in family.radii if one.robust is not None]
        assert family.chosen is not None
        if family.chosen.clean is not None:
            known = [(0.0, family.chosen.clean), *known]
        colour, style = f"C{number % 10}", "-" if number < 10 else "--"
        places, robust = [place for place, _ in known], [one for _, one in known]
        axes.plot(
            places, [100 * one.value for one in robust], f"o{style}", color=colour, markersize=4, label=family.name
        )
        axes.fill_between(
            places, [100 * one.low for one in robust], [100 * one.high for one in robust], color=colour, alpha=0.12
        )
    unit = f" in 1/{facts.unit:g}" if facts.unit > 1 else ""
    axes.set(ylim=(-2, 102), xlabel=f"radius, {facts.sign}{unit}", ylabel="robust accuracy (%)")
    axes.set_title("chosen strengths by radius", loc="left", fontsize="medium", fontweight="bold")
    axes.legend(fontsize=7, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
