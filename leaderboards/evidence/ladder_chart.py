"""Draws the accuracy of a row against the effort of the attack, and the lowest of the other attacks beside it."""

from __future__ import annotations

from dataclasses import replace

from purebench.leaderboards.charts.draws import FRAME, Curve, DrawChart, points_curve, position
from purebench.results.grading.evidence import Convergence

AXIS = "purifier passes per image, attack and verification"


def ladder_chart(anchor: str, name: str, found: Convergence) -> DrawChart:
    """Compute the chart of a ladder: one point for each rung, equally spaced, with its interval.

    Args:
        anchor: Anchor of the defense's section.
        name: Name of the defense.
        found: The convergence of its attacks.

    Returns:
        The chart.
    """
    rungs, most = found.rungs, len(found.rungs)
    rising = points_curve(
        "rising effort", "series-0", range(1, most + 1), [rung.accuracy for rung in rungs], most, banded=True
    )
    told = ", ".join(f"{rung.label} {rung.accuracy.percent()}" for rung in rungs)
    curves = [replace(rising, told=told), *_other(found)]
    labels = ["noise", *(f"{rung.passes:,.0f}" for rung in rungs[1:])]
    ticks = tuple((round(position(number, most), 1), label) for number, label in enumerate(labels, 1))
    title = f"Accuracy of {name} under attacks of rising effort"
    return DrawChart(f"{anchor}-effort", title, FRAME, ticks, tuple(curves), AXIS)


def _other(found: Convergence) -> list[Curve]:
    """Return the lowest other attack as a level line, at the last rung's accuracy minus their difference."""
    if found.difference is None:
        return []
    most = len(found.rungs)
    left, right = (round(position(number, most), 1) for number in (1, most))
    value = min(max(found.rungs[-1].accuracy.value - found.difference.value, 0.0), 1.0)
    told = f"{100 * value:.1f} %; the last rung is higher by {_points(found)} points"
    path = f"M{left:g} {round(FRAME.y(value), 1):g}H{right:g}"
    return [Curve(f"lowest other attack: {found.other}", "series-1 dash-2", path, "", (), told)]


def _points(found: Convergence) -> str:
    assert found.difference is not None
    low, value, high = (100 * end for end in (found.difference.low, found.difference.value, found.difference.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
