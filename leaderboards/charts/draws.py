"""Computes the page's section on randomness: clean and attacked accuracy, repeated queries, votes, sources of noise.

Clean and attacked accuracy are the same estimand image by image, so the loss due to randomness alone is not attributed
to the attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.leaderboards.charts.curves import Frame
from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED, CLEAN, DefenseResult
from purebench.statistics import (
    Allocation,
    Estimate,
    VarianceParts,
    advise,
    attributable_loss,
    interval,
    interval_method,
    resubmission_curve,
    variance_parts,
    vote_curve,
)

Bools = npt.NDArray[np.bool_]
FRAME = Frame(640, 300)


@dataclass(frozen=True)
class Curve:
    """One curve of a drawing, as SVG paths.

    Attributes:
        name: Name of the curve.
        style: CSS classes.
        path: SVG path of the line through its points.
        band: SVG path of the confidence band, empty for none.
        points: (x, y) of the marks.
        told: Description in words.
    """

    name: str
    style: str
    path: str
    band: str
    points: tuple[tuple[float, float], ...]
    told: str


@dataclass(frozen=True)
class DrawChart:
    """Accuracy against the number of draws that are used.

    Attributes:
        id: Anchor in the page.
        title: Title.
        frame: Size and margins.
        ticks: (x, label) of each tick.
        curves: The curves.
        axis: Label of the horizontal axis.
    """

    id: str
    title: str
    frame: Frame
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]
    axis: str = "draws used, N or K"

    @property
    def summary(self) -> str:
        """Description for readers who cannot see the drawing."""
        return " ".join(f"{curve.name}: {curve.told}." for curve in self.curves)


@dataclass(frozen=True)
class Noise:
    """The sources of the noise of robust accuracy, and the cheapest way to halve its interval.

    Attributes:
        parts: Variance components.
        shares: Shares of the mean's variance by source, in percent.
        images: Number of images that were scored.
        draws: Number of fresh draws of each image.
        advice: Images and fresh draws that would halve the interval; None where the costs are not known.
    """

    parts: VarianceParts
    shares: tuple[tuple[str, float], ...]
    images: int
    draws: int
    advice: Allocation | None


def loss(result: DefenseResult) -> Estimate | None:
    """Estimate the accuracy lost to the attacks: clean minus attacked accuracy, image by image.

    Args:
        result: Results of the defense.

    Returns:
        A difference in [-1,1]; None without clean images and attacks, and in a cascade that attacks before it evaluates
        the clean images.
    """
    clean, rest = _clean(result), [attack for attack in result.attacks if attack.name != CLEAN]
    if clean is None or all(attack.skipped for attack in rest) or result.errored:
        return None
    before, after = result.right(clean).mean(axis=1), result.scores()
    asked = ~np.isnan(after) & np.array([outcome in ANSWERED for outcome in clean.outcomes])
    if not asked.any():
        return None
    before, after, confidence = before[asked], after[asked], result.board["confidence"]
    if not result.random:  # the worst case includes the clean image, so it is never right where that is wrong
        return interval(before - after, interval_method(True, result.anytime), confidence)
    return attributable_loss(before, after, confidence, anytime=result.anytime)


def draw_chart(anchor: str, result: DefenseResult) -> DrawChart | None:
    """Compute the chart of resubmission@N and vote@K, clean and at the picked adversarial examples.

    The page says beside it that vote@K is not the robustness of a voting defense (`figures_text.VOTE`).

    Args:
        anchor: Anchor of the defense's section.
        result: Results of the defense.

    Returns:
        The chart; None for a deterministic defense, with too few draws, and where images ERRORED.
    """
    if not result.random or result.errored or not result.scored.any():
        return None
    method, confidence = interval_method(False, result.anytime), result.board["confidence"]
    right = result.fresh[np.newaxis, result.scored]
    asked = resubmission_curve(right, confidence=confidence, method=method)
    if len(asked) < 3:
        return None
    voted = vote_curve(right, confidence=confidence, method=method)
    most = len(asked)
    curves = [
        points_curve("resubmission@N, attacked", "series-0", range(1, most + 1), asked, most, banded=True),
        points_curve("vote@K, attacked", "series-1", range(1, most + 1, 2), voted, most),
    ]
    clean = _clean(result)
    if clean is not None and all(outcome in ANSWERED for outcome in clean.outcomes):
        alone = result.right(clean)[np.newaxis]
        often = resubmission_curve(alone, confidence=confidence, method=method, upto=most)
        votes = vote_curve(alone, confidence=confidence, method=method, upto=most)
        curves.append(points_curve("resubmission@N, clean", "series-0 dash-2", range(1, len(often) + 1), often, most))
        curves.append(points_curve("vote@K, clean", "series-1 dash-2", range(1, 2 * len(votes), 2), votes, most))
    ticks = tuple((round(position(n, most), 1), f"{n}") for n in range(1, most + 1, max(1, most // 8)))
    return DrawChart(
        f"{anchor}-draws", f"Accuracy of {result.name} under repeated queries", FRAME, ticks, tuple(curves)
    )


def noise(result: DefenseResult) -> Noise | None:
    """Estimate the sources of the noise of robust accuracy; None where they cannot be estimated."""
    scored = result.scored
    if not result.random or result.errored or result.fresh_draws < 2 or scored.sum() < 2:
        return None
    parts = variance_parts(result.fresh[scored])
    shares = zip(("images", "draws"), (parts.shares(result.fresh_draws)[part] for part in (0, 2)), strict=True)
    return Noise(
        parts=parts,
        shares=tuple((name, 100 * share) for name, share in shares),
        images=int(scored.sum()),
        draws=result.fresh_draws,
        advice=_advice(result, parts),
    )


def _advice(result: DefenseResult, parts: VarianceParts) -> Allocation | None:
    """Return the cheapest images and fresh draws that halve the interval, costed in seconds; None without times."""
    robust = result.robust
    attacks = sum(sum(attack.seconds.values()) for attack in result.attacks)
    picking, fresh = (result.worst_case.seconds.get(phase, 0.0) for phase in ("pick", "verify"))
    if robust is None or not fresh or parts.total == 0 or not 0 < robust.half_width / 2 < 0.5:
        return None
    images = robust.n
    return advise(
        parts,
        robust.half_width / 2,
        cost_image=(attacks + picking) / images,
        cost_draw=fresh / images / result.fresh_draws,
        confidence=robust.confidence,
        method=robust.method,
    )


def _clean(result: DefenseResult) -> AttackResult | None:
    """Return the answers on the clean images, if all of them were evaluated or have a recorded error."""
    clean = next((attack for attack in result.attacks if attack.name == CLEAN), None)
    return None if clean is None or clean.skipped or result.spared(clean).any() else clean


def position(number: int, most: int) -> float:
    """Return the horizontal position of the point with this number, of 1 to `most`."""
    return FRAME.x((number - 0.6) / (most - 0.2))


def points_curve(
    name: str, style: str, numbers: Sequence[int], found: Sequence[Estimate], most: int, banded: bool = False
) -> Curve:
    """Return the curve of estimates at equally spaced points.

    Args:
        name: Name of the curve.
        style: CSS classes.
        numbers: Numbers of the points, from 1.
        found: Their estimates.
        most: The largest number of the chart.
        banded: Whether the confidence band is drawn.
    """
    xs = [round(position(number, most), 1) for number in numbers]
    points = tuple((x, round(FRAME.y(one.value), 1)) for x, one in zip(xs, found, strict=True))
    high = [(x, round(FRAME.y(one.high), 1)) for x, one in zip(xs, found, strict=True)]
    low = [(x, round(FRAME.y(one.low), 1)) for x, one in zip(xs, found, strict=True)]
    first, last = (f"{found[i].percent()} at {numbers[i]}" for i in (0, -1))
    band = _path([*high, *reversed(low)]) + "Z" if banded else ""
    return Curve(name, style, _path(points), band, points, f"{first}, {last}")


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
