"""What randomness gives a defense and what attacks take: clean beside attacked, asked often, voting, and the noise.

Clean and attacked are the same estimand image by image, so what randomness alone costs is not blamed on the attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.answers import gather
from purebench.leaderboards.curves import Frame
from purebench.leaderboards.results import CLEAN, AttackResult, DefenseResult
from purebench.records import Outcome
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
    """One curve of a drawing: its points by how many draws are used, as SVG paths.

    style: CSS classes. points: (x, y) of the marks; band: around them, empty for none; told: in words.
    """

    name: str
    style: str
    path: str
    band: str
    points: tuple[tuple[float, float], ...]
    told: str


@dataclass(frozen=True)
class DrawChart:
    """Accuracy against the number of draws that are used. ticks: (x, label)."""

    id: str
    title: str
    frame: Frame
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]

    @property
    def summary(self) -> str:
        """What a reader who does not see it must know."""
        return " ".join(f"{curve.name}: {curve.told}." for curve in self.curves)


@dataclass(frozen=True)
class Noise:
    """Where the noise of an accuracy comes from, under one attack, and what the next run should buy.

    shares: of the mean's variance, by what they come from, in percent.
    advice: images and draws that would halve the interval; None where the costs are not known.
    """

    attack: str
    parts: VarianceParts
    shares: tuple[tuple[str, float], ...]
    images: int
    draws: int
    advice: Allocation | None


def loss(result: DefenseResult) -> Estimate | None:
    """What the attacks take: clean minus attacked accuracy, image by image; None without clean images and attacks.

    None too in a cascade that attacks before it asks for the clean images.
    """
    clean, rest = _clean(result), [attack for attack in result.attacks if attack.name != CLEAN]
    every = result.answers
    if clean is None or every is None or all(attack.skipped for attack in rest):
        return None
    alone = gather([(clean.outcomes, clean.draws)], result.draws)
    if alone is None:
        return None
    before, after = (found.robust(in_order=result.anytime) for found in (alone, every))
    asked = ~(np.isnan(before) | np.isnan(after))
    if not asked.any():
        return None
    before, after, confidence = before[asked], after[asked], result.board["confidence"]
    if not result.random:  # the worst case holds the clean image, so it is never right where that is wrong
        return interval(before - after, interval_method(True, result.anytime), confidence)
    return attributable_loss(before, after, confidence, anytime=result.anytime)


def draw_chart(anchor: str, result: DefenseResult) -> DrawChart | None:
    """resubmission@N and vote@K, clean and attacked; None for a deterministic defense, and with too few draws."""
    if not result.random or (every := result.answers) is None:
        return None
    method, confidence = interval_method(False, result.anytime), result.board["confidence"]
    some = every.counts.any(axis=0)
    right, counts = every.right[:, some], every.counts[:, some]
    asked = resubmission_curve(right, confidence=confidence, method=method, counts=counts)
    if len(asked) < 3:
        return None
    voted = vote_curve(right, confidence=confidence, method=method, counts=counts)
    most = len(asked)
    curves = [
        _curve("resubmission@N, attacked", "series-0", range(1, most + 1), asked, most, banded=True),
        _curve("vote@K, attacked", "series-1", range(1, most + 1, 2), voted, most),
    ]
    clean = _clean(result)
    alone = None if clean is None else gather([(clean.outcomes, clean.draws)], result.draws)
    if alone is not None and alone.counts.all():
        often = resubmission_curve(alone.right, confidence=confidence, method=method, upto=most)
        votes = vote_curve(alone.right, confidence=confidence, method=method, upto=most)
        curves.append(_curve("resubmission@N, clean", "series-0 dash-2", range(1, most + 1), often, most))
        curves.append(_curve("vote@K, clean", "series-1 dash-2", range(1, most + 1, 2), votes, most))
    ticks = tuple((round(_x(n, most), 1), f"{n}") for n in range(1, most + 1, max(1, most // 8)))
    return DrawChart(f"{anchor}-draws", f"Accuracy of {result.name} asked several times", FRAME, ticks, tuple(curves))


def noise(result: DefenseResult, strongest: str | None) -> Noise | None:
    """Where the noise of the accuracy under the strongest attack comes from; None where the draws cannot tell."""
    attack = next((one for one in result.attacks if one.name == strongest), None)
    if attack is None or not result.random or result.draws < 2:
        return None
    if {Outcome.SKIPPED, Outcome.ERRORED} & set(attack.outcomes) or len(result.images) < 2:
        return None
    parts = variance_parts(result.right(attack))
    draws = result.draws
    of_images, _, of_draws = parts.shares(draws)
    return Noise(
        attack=attack.name,
        parts=parts,
        shares=tuple((name, 100 * share) for name, share in (("images", of_images), ("draws", of_draws)) if share > 0),
        images=len(result.images),
        draws=draws,
        advice=_advice(result, parts),
    )


def _advice(result: DefenseResult, parts: VarianceParts) -> Allocation | None:
    """The cheapest images and draws that halve the interval, in seconds of this device; None if none were timed."""
    robust = result.robust
    attacks = sum(attack.seconds.get("attack", 0.0) for attack in result.attacks)
    asked = sum(attack.seconds.get("verify", 0.0) for attack in result.attacks)
    if robust is None or not asked or parts.total == 0 or not 0 < robust.half_width / 2 < 0.5:
        return None
    images = len(result.images)
    return advise(
        parts,
        robust.half_width / 2,
        cost_image=attacks / images,
        cost_draw=asked / images / result.draws,
        confidence=robust.confidence,
        method=robust.method,
        least_draws=2,
    )


def _clean(result: DefenseResult) -> AttackResult | None:
    """The clean images' answers, if all of them were asked or are told to have failed."""
    clean = next((attack for attack in result.attacks if attack.name == CLEAN), None)
    return None if clean is None or clean.skipped or result.spared(clean).any() else clean


def _x(number: int, most: int) -> float:
    return FRAME.x((number - 0.6) / (most - 0.2))


def _curve(
    name: str, style: str, numbers: Sequence[int], found: Sequence[Estimate], most: int, banded: bool = False
) -> Curve:
    xs = [round(_x(number, most), 1) for number in numbers]
    points = tuple((x, round(FRAME.y(one.value), 1)) for x, one in zip(xs, found, strict=True))
    high = [(x, round(FRAME.y(one.high), 1)) for x, one in zip(xs, found, strict=True)]
    low = [(x, round(FRAME.y(one.low), 1)) for x, one in zip(xs, found, strict=True)]
    first, last = (f"{found[i].percent()} at {numbers[i]}" for i in (0, -1))
    band = _path([*high, *reversed(low)]) + "Z" if banded else ""
    return Curve(name, style, _path(points), band, points, f"{first}, {last}")


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
