"""Decides whether the attacks on a row have converged: whether more effort would lower its accuracy.

Accuracy that does not fall with effort has two readings: the attack has converged, or it does not work at all, because
gradients are masked (Athalye et al. 2018, arXiv:1802.00420). So a row counts as converged only if the ladder falls from
its lowest rung, random noise, if the effort of the last rungs changes nothing, if no other attack, of which at least
one has another mechanism, ends lower, and if the ladder does not end below the robust accuracy of the row itself.
Comparisons are paired by image. Every rung is a single attack, verified on draws that the attack did not see, and the
robust accuracy is scored on fresh draws, so that nothing is picked on the draws on which it is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.results.grading.evidence import Convergence, ConvergenceStatus, Fall, Rung
from purebench.results.grading.images_needed import images_to_exclude, images_to_show
from purebench.results.grading.ladder import Ladder, Tried, read_ladder, rung_label
from purebench.results.results import DefenseResult, spec_text
from purebench.statistics import (
    accuracy,
    compare,
    equivalent,
    exceeds_by_less,
    holm,
    one_sided_bound,
    paired_difference,
)

Floats = npt.NDArray[np.float64]

MARGIN = 0.05
"""Difference of accuracies from which more effort, or another attack, counts as lower: as for the recovery of
controls."""
LEVEL = 0.05
"""Largest probability that a row is called converged, flat or falling although it is not."""
BACK = 2
"""Number of rungs below the last one at which the accuracy must be the same."""

NAMED = 3
"""Largest number of attacks that a reason names."""


def convergences(own: Sequence[DefenseResult], ladders: Sequence[DefenseResult]) -> dict[str, Convergence]:
    """Return the convergence of each row that has a ladder, by its name.

    Args:
        own: the results of the rows on their board.
        ladders: the results of the rows on the board of the ladder.
    """
    by_name = {result.name: result for result in ladders}
    found = {row.name: convergence(row, by_name[row.name]) for row in own if row.name in by_name}
    return {name: one for name, one in found.items() if one is not None}


def convergence(own: DefenseResult, ladder: DefenseResult) -> Convergence | None:
    """Decide whether the attacks on a row have converged.

    Args:
        own: the result of the row on its own board, whose attacks are compared with the last rung.
        ladder: the result of the row on the board of the ladder (`boards.derived.effort_board`).

    Returns:
        The convergence; None if there is no image of the row on which every rung answered.
    """
    found = read_ladder(own, ladder)
    if found is None:
        return None
    confidence, deterministic = ladder.board["confidence"], not ladder.random
    first, last = found.rungs[0], found.rungs[-1]
    lowest = lowest_other(found.others)
    status, reason = decide(found)
    falls = significant_falls(found) if status is ConvergenceStatus.FALLING else []
    return Convergence(
        status=status,
        rungs=tuple(
            Rung(
                label=rung_label(rung.attack, ladder.random),
                passes=float(rung.attack.purifier_passes or 0),
                accuracy=accuracy(rung.right, deterministic=deterministic, confidence=confidence),
            )
            for rung in found.rungs
        ),
        drop=paired_difference(first.values, last.values, confidence),
        other="" if lowest is None else lowest.name,
        difference=None if lowest is None else paired_difference(last.values, lowest.scored, confidence),
        reason=reason,
        images=len(found.images),
        needs=images_needed(found) if status is ConvergenceStatus.UNDECIDED else 0,
        falls=tuple(dict.fromkeys(one.fall for one in falls)),
        lower=tuple(_described(one.attack) for one in falls if one.fall is Fall.LADDER),
    )


def decide(found: Ladder) -> tuple[ConvergenceStatus, str]:
    """Return the status of a ladder and the reason for it.

    Args:
        found: the rungs and the other attacks.
    """
    if len(found.rungs) <= BACK + 1:
        return ConvergenceStatus.UNDECIDED, "too few rungs answered on all images"
    first, last = found.rungs[0].values, found.rungs[-1].values
    images, falls = found.images, _p_above(found.images, first, last) <= LEVEL
    if found.picked is not None and one_sided_bound(found.picked, 1 - LEVEL, "high") <= MARGIN:
        return ConvergenceStatus.CONVERGED, f"no accuracy above {_points(MARGIN)} points is left"
    if not falls and exceeds_by_less(first, last, MARGIN, LEVEL):
        return ConvergenceStatus.FLAT, (
            f"the accuracy is the same as under random noise ({_percent(first)}, then {_percent(last)})"
        )
    shown = significant_falls(found)
    if shown:
        return ConvergenceStatus.FALLING, "; ".join(one.sentence for one in shown)
    missing = _missing(found, falls)
    if missing:
        return ConvergenceStatus.UNDECIDED, f"not shown on {len(images)} images: {'; '.join(missing)}"
    return ConvergenceStatus.CONVERGED, (
        f"the accuracy falls from {_percent(first)} to {_percent(last)}, changes by less than {_points(MARGIN)} points "
        "in the last rungs, no other attack ends lower by as much, and the ladder does not end below the row by as much"
    )


def images_needed(found: Ladder) -> int:
    """Return about how many images decide a ladder that is undecided; 0 if more images do not decide it.

    Args:
        found: the rungs and the other attacks.
    """
    if len(found.rungs) <= BACK + 1 or found.picked is None or not any(other.another for other in found.others):
        return 0
    first, before, last = (found.rungs[place].values for place in (0, -1 - BACK, -1))
    pairs = [(before, last), (last, before), *((last, other.values) for other in found.others)]
    pairs += [(found.picked, one.values) for one in _of_ladder(found)]
    needed = images_to_exclude(pairs, MARGIN, LEVEL)
    return max(len(found.images) + 1, needed, images_to_show(first, last, LEVEL))


@dataclass(frozen=True)
class SignificantFall:
    """A significant difference that shows that the attacks have not converged.

    Attributes:
        fall: its kind.
        sentence: it in words, with the accuracies.
        attack: the attack with the lower accuracy.
    """

    fall: Fall
    sentence: str
    attack: Tried


def significant_falls(found: Ladder) -> list[SignificantFall]:
    """Return what shows that the attacks have not converged.

    It is a fall of the last rungs, an attack that ends below the last rung, or an attack of the ladder that ends below
    the robust accuracy of the row. With a probability of at most `LEVEL`, one of these is a false alarm.

    Args:
        found: the rungs and the other attacks; more than `BACK` + 1 rungs.
    """
    first, end = found.rungs[-1 - BACK], found.rungs[-1]
    before, last = first.values, end.values
    told = [SignificantFall(Fall.RUNGS, f"the last rungs still fall, from {_percent(before)} to {_percent(last)}", end)]
    pairs = [(before, last)]
    for other in found.others:
        ends = f"{other.name} ends lower ({_percent(other.values)}, the ladder {_percent(last)})"
        told.append(SignificantFall(Fall.OTHER, ends, other))
        pairs.append((last, other.values))
    if found.picked is not None:
        for one in _of_ladder(found):
            name = "the last rung" if one is end else one.name
            ends = f"({_percent(one.values)}, the row {_percent(found.picked)})"
            told.append(SignificantFall(Fall.LADDER, f"{name} ends below the robust accuracy of the row {ends}", one))
            pairs.append((found.picked, one.values))
    return [one for one, above in zip(told, clearly_above(found.images, pairs), strict=True) if above]


def _described(tried: Tried) -> str:
    """Return an attack as a board names it, such as "square(queries=100)"."""
    view = "" if tried.attack.gradient == "none" else f" with gradient: {tried.attack.gradient}"
    return f"{spec_text(tried.attack.spec)}{view}"


def _of_ladder(found: Ladder) -> list[Tried]:
    """Return the attacks that the row's own accuracy does not include: the last rung, and others of its board."""
    return [found.rungs[-1], *(other for other in found.others if other.of_ladder)]


def clearly_above(images: Sequence[int], pairs: Sequence[tuple[Floats, Floats]]) -> list[bool]:
    """Return for each pair of accuracies whether the first is significantly above the second, and matters.

    The tests are corrected for their number (Holm). A difference that is surely smaller than `MARGIN` does not matter.

    Args:
        images: ids of the images.
        pairs: shares of correct draws [images] in [0,1], paired by image.
    """
    p_values = holm([_p_above(images, *pair) for pair in pairs]) if pairs else ()
    return [
        bool(p_value <= LEVEL) and not exceeds_by_less(*pair, MARGIN, LEVEL)
        for p_value, pair in zip(p_values, pairs, strict=True)
    ]


def _missing(found: Ladder, falls: bool) -> list[str]:
    """Return the conditions of convergence that the images do not show."""
    before, last = found.rungs[-1 - BACK].values, found.rungs[-1].values
    missing = [] if falls else ["a fall from random noise"]
    if not equivalent(before, last, MARGIN, LEVEL):
        missing.append(f"that the last rungs differ by less than {_points(MARGIN)} points")
    if not any(other.another for other in found.others):
        missing.append("the comparison with an attack of another mechanism, because none applies")
    unsure = [other.name for other in found.others if not exceeds_by_less(last, other.values, MARGIN, LEVEL)]
    if unsure:
        names = ", ".join(unsure[:NAMED]) + (f" and {len(unsure) - NAMED} more" if len(unsure) > NAMED else "")
        missing.append(f"that no other attack ends {_points(MARGIN)} points lower ({names})")
    row = found.picked
    if row is None:
        missing.append("the comparison with the robust accuracy of the row, which is not known on all of these images")
    elif not all(exceeds_by_less(row, one.values, MARGIN, LEVEL) for one in _of_ladder(found)):
        missing.append(f"that the ladder does not end {_points(MARGIN)} points below the row")
    return missing


def _p_above(images: Sequence[int], a: Floats, b: Floats) -> float:
    """Return the two-sided p-value of equal means if a is above b on average, else 1."""
    return compare(a, b, images=(images, images)).p_value if a.mean() > b.mean() else 1.0


@dataclass(frozen=True)
class OtherAttack:
    """The other attack with the lowest accuracy; `scored` [images] is from draws that did not choose it."""

    name: str
    scored: Floats


def lowest_other(others: Sequence[Tried]) -> OtherAttack | None:
    """Choose the other attack with the lowest accuracy, and return its accuracies.

    For a random defense the first half of the draws chooses it and the other half is scored.

    Args:
        others: the other attacks.

    Returns:
        The attack; None if there is none.
    """
    if not others:
        return None
    half = others[0].right.shape[1] // 2
    chosen = min(others, key=lambda other: float(other.right[:, : half or None].mean()))
    return OtherAttack(chosen.name, np.asarray(chosen.right[:, half:].mean(axis=1), dtype=np.float64))


def count_text(found: Mapping[str, Convergence]) -> str:
    """Return one sentence about all rows: "convergence: 3 of 9 rows converged; flat: a, b"; "" without rows."""
    if not found:
        return ""
    of = {status: [name for name, one in found.items() if one.status is status] for status in ConvergenceStatus}
    told = [f"convergence: {len(of.pop(ConvergenceStatus.CONVERGED))} of {len(found)} rows converged"]
    return "; ".join(told + [f"{status}: {', '.join(names)}" for status, names in of.items() if names])


def _percent(values: Floats) -> str:
    return f"{100 * values.mean():.1f} %"


def _points(margin: float) -> str:
    return f"{100 * margin:g}"
