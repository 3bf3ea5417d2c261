"""Draws security curves as inline SVG: this module computes all positions, `templates/curve.svg.j2` writes the markup.

All charts of a page share their scale, so that they can be compared by eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.threat import ThreatModel
from purebench.results.distances import NearestDistances, distance_text
from purebench.statistics import Estimate, median_distance, security_curve

COLOURS = 8
"""Number of line colours in style.css; the ninth line starts again, dashed."""
TICKS = 7


class Measured(Protocol):
    """Distances, one per image: of attacks (`NearestDistances`), or certified ones."""

    @property
    def distances(self) -> tuple[float | None, ...]:
        """Distances in the units of the radius; None where there is no limit."""

    @property
    def anytime(self) -> bool:
        """True if intervals must be valid at any stopping time."""


@dataclass(frozen=True)
class Scale:
    """The common scale of the charts.

    Attributes:
        norm: Norm of the radii.
        limit: Largest radius; the smallest is 0.
        ticks: (radius, label) of each tick.
        label: Label of the axis.
        radius: Radius of the threat model.
        radius_text: The same as its author wrote it.
    """

    norm: str
    limit: float
    ticks: tuple[tuple[float, str], ...]
    label: str
    radius: float
    radius_text: str


@dataclass(frozen=True)
class Frame:
    """The drawing's size and margins, in its own units.

    Attributes:
        width: Width of the drawing.
        height: Height of the drawing.
        left: Left margin; the margins leave room for larger letters on a small screen.
        right: Right margin.
        top: Top margin.
        bottom: Bottom margin.
    """

    width: int
    height: int
    left: int = 74
    right: int = 16
    top: int = 34
    bottom: int = 58

    def x(self, share: float) -> float:
        """Return the horizontal position of a share of the scale; shares above 1 are placed at its end."""
        return self.left + min(share, 1.0) * (self.width - self.left - self.right)

    def y(self, accuracy: float) -> float:
        """Return the vertical position of an accuracy in [0,1]."""
        return self.top + (1 - accuracy) * (self.height - self.top - self.bottom)


@dataclass(frozen=True)
class Line:
    """The curve of one defense.

    Attributes:
        name: Name of the defense.
        style: CSS classes of its colour.
        path: SVG path of the steps.
        band: SVG path of the confidence band around them.
        point: (x, y) of the curve at the threat's radius.
        at: The accuracy at the threat's radius.
        median: Its median distance, as text.
    """

    name: str
    style: str
    path: str
    band: str
    point: tuple[float, float]
    at: Estimate
    median: str


@dataclass(frozen=True)
class Chart:
    """A drawing of one or more curves.

    Attributes:
        id: Anchor in the page.
        title: Title.
        summary: Description for readers who cannot see the drawing.
        frame: Size and margins.
        scale: Scale of the radii.
        lines: The curves.
        banded: Whether bands are drawn.
    """

    id: str
    title: str
    summary: str
    frame: Frame
    scale: Scale
    lines: tuple[Line, ...]
    banded: bool


SINGLE = Frame(640, 320)
OVERLAID = Frame(760, 380)


def scale(threat: ThreatModel, radius_text: str, found: Iterable[Measured]) -> Scale:
    """Choose a scale that shows the threat's radius and 95 % of the distances found.

    Args:
        threat: Threat model.
        radius_text: Its radius as its author wrote it.
        found: Distances of all defenses.

    Returns:
        The scale.
    """
    known = sorted(d for of in found for d in of.distances if d is not None)
    most = known[int(0.95 * (len(known) - 1))] if known else 0.0
    limit = max(1.5 * threat.radius, 1.05 * most)
    facts = NORM_FACTS[threat.norm]
    unit = facts.unit
    step = next((step for step in facts.ticks if limit * unit / step <= TICKS), limit * unit / TICKS)
    count = int(limit * unit / step + 1e-9)
    return Scale(
        norm=threat.norm,
        limit=limit,
        ticks=tuple((i * step / unit, f"{i * step:.3g}") for i in range(count + 1)),
        label=f"radius, {facts.sign} in 1/{unit}" if unit > 1 else f"radius, {facts.sign}",
        radius=threat.radius,
        radius_text=radius_text or f"{threat.radius:g}",
    )


def line(name: str, found: Measured, confidence: float, scale: Scale, frame: Frame, number: int = 0) -> Line:
    """Compute the curve of a defense.

    Args:
        name: Name of the defense.
        found: Its distances.
        confidence: Of the band, in (0,1).
        scale: Scale of the radii.
        frame: Size and margins.
        number: Its number among the lines of the chart, which decides its colour.

    Returns:
        The curve.
    """
    corners = sorted({0.0, *(d for d in found.distances if d is not None and d <= scale.limit)})
    curve = security_curve(found.distances, [*corners, scale.radius], confidence, anytime=found.anytime)
    at, curve = curve[-1], curve[:-1]
    xs = [frame.x(radius / scale.limit) for radius in corners]
    end = frame.x(1.0)
    high = _steps(xs, [frame.y(point.high) for point in curve], end)
    low = _steps(xs, [frame.y(point.low) for point in curve], end)
    return Line(
        name=name,
        style=f"series-{number % COLOURS} dash-{min(number // COLOURS, 2)}",
        path=_path(_steps(xs, [frame.y(point.value) for point in curve], end)),
        band=_path([*high, *reversed(low)]) + "Z",
        point=(round(frame.x(scale.radius / scale.limit), 1), round(frame.y(at.value), 1)),
        at=at,
        median=distance_text(scale.norm, median_distance(found.distances)),
    )


def single(
    anchor: str,
    name: str,
    found: NearestDistances | None,
    confidence: float,
    scale: Scale,
    proven: Measured | None = None,
) -> Chart | None:
    """Compute the chart of one defense, with bands: under attack, and certified (dashed).

    Args:
        anchor: Anchor of the defense's section.
        name: Name of the defense.
        found: Distances of attacks, None if there are none.
        confidence: Of the bands, in (0,1).
        scale: Scale of the radii.
        proven: Certified distances, None if there are none.

    Returns:
        The chart; None without any distances.
    """
    lines, told = [], []
    if found is not None:
        lines.append(drawn := line(name, found, confidence, scale, SINGLE))
        (start,) = security_curve(found.distances, [0.0], confidence, anytime=found.anytime)
        told.append(f"At radius 0: {start.percent()}.")
        told.append(_told(drawn, scale))
    if proven is not None:
        lines.append(drawn := line(f"{name}, certified", proven, confidence, scale, SINGLE, COLOURS))
        told.append(f"Certified at the threat's radius {scale.radius_text}: {drawn.at.percent()}.")
    title = f"Accuracy of {name} against radius"
    return Chart(f"{anchor}-curve", title, " ".join(told), SINGLE, scale, tuple(lines), True) if lines else None


def overlaid(found: Mapping[str, NearestDistances], confidence: float, scale: Scale) -> Chart | None:
    """Compute the chart of all defenses that have a curve.

    Args:
        found: Distances by name, in the order of the lines.
        confidence: In (0,1).
        scale: Scale of the radii.

    Returns:
        The chart; None if there are fewer than two curves.
    """
    if len(found) < 2:
        return None
    lines = tuple(
        line(name, of, confidence, scale, OVERLAID, number) for number, (name, of) in enumerate(found.items())
    )
    summary = " ".join(f"{drawn.name}: {_told(drawn, scale)}" for drawn in lines)
    return Chart("curves-chart", "Accuracy of all defenses against radius", summary, OVERLAID, scale, lines, False)


def _told(drawn: Line, scale: Scale) -> str:
    return f"At the threat's radius {scale.radius_text}: {drawn.at.percent()}. Median distance: {drawn.median}."


def _steps(xs: Sequence[float], ys: Sequence[float], end: float) -> list[tuple[float, float]]:
    """Return the corners of a line that keeps each y from its x on, up to `end`; equal corners are returned once."""
    corners = [(round(xs[0], 1), round(ys[0], 1))]
    for x, y in zip([*xs[1:], end], [*ys[1:], ys[-1]], strict=True):
        x, y = round(x, 1), round(y, 1)
        if x != corners[-1][0]:
            corners.append((x, corners[-1][1]))
        if y != corners[-1][1]:
            corners.append((x, y))
    return corners


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
