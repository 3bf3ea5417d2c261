"""The search space: maps points of the unit cube to candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.defense_profile import DefenseProfile

AXES = ("method", "view", "loss", "steps", "eot", "start", "extra")
METHODS = ("apgd", "apgd", "pgd", "apgd-t", "square", "estimated", "fmn")
LOSSES = ("cw", "dlr", "ce-scaled", "ce", "pm")
TARGETED = ("dlr", "cw", "ce")
STEPS = (10, 20, 40, 80)
EOTS = (1, 4, 8, 16)
T = TypeVar("T")


def at(point: Sequence[float], known: DefenseProfile, best: AttackCandidate | None) -> AttackCandidate:
    """Return the candidate at a point.

    Args:
        point: One number in [0,1] for each of AXES. From a `start` of 0.5 on, the steps of the best candidate so far
            come first, and the new attack starts from their points.
        known: The properties of the defense.
        best: The best candidate so far, or None.
    """
    method, view, loss, steps, eot, start, extra = point
    found = best is not None and start >= 0.5
    step = _step(_of(METHODS, method), (view, loss, steps, eot, extra), known, found)
    own = tuple(point)
    if best is None or not found:
        return AttackCandidate((step,), "proposed", own)
    return AttackCandidate((*best.steps, step), "proposed, from the points of the best so far", own)


def _step(method: str, at_: tuple[float, ...], known: DefenseProfile, found: bool) -> Step:
    view, loss, steps, eot, extra = at_
    gradient, count, many = _of(known.views, view), _of(STEPS, steps), (_of(EOTS, eot) if known.random else 1)
    away = gradient.startswith(("inner", "stand-in"))
    many = 1 if away or gradient == "blind" else many
    stop = {"stop": False} if away else {}
    if method == "square" and known.supports(method):
        share = _of((0.05, 0.2, 0.8), extra)
        return Step("square", {"queries": 10 * count, "share": share}, "none", min(many, 4), found)
    if method == "estimated":
        tiles, sigma = _of((0, 8, 16), extra), _of((0.01, 0.03, 0.08), view)
        params = {"steps": min(count, 40), "loss": _of(LOSSES, loss)}
        return Step("apgd", params, f"estimated(samples=20, sigma={sigma}, tiles={tiles})", min(many, 4), found)
    if method == "apgd-t":
        params = {"steps": min(count, 40), "targets": _of((3, 5, 9), extra), "loss": _of(TARGETED, loss)}
        return Step("apgd-t", params, gradient, many, found)
    if method == "pgd" and known.supports(method):
        momentum, size = _of((0.0, 0.5, 0.9), extra), 0.1
        return Step(
            "pgd",
            {"steps": count, "loss": _of(LOSSES, loss), "momentum": momentum, "step": size},
            gradient,
            many,
            found,
        )
    if method == "fmn" and not known.random and not away:
        return Step("fmn", {"steps": count}, gradient, many)
    restarts = {"restarts": 2} if extra > 0.8 and not found else {}
    return Step("apgd", {"steps": count, "loss": _of(LOSSES, loss), **restarts, **stop}, gradient, many, found)


def _of(values: Sequence[T], place: float) -> T:
    """Return the value at a place in [0,1]."""
    return values[min(int(place * len(values)), len(values) - 1)]
